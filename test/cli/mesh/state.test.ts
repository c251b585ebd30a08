import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ancestry, isAlive, processId } from '@nsm/cli/mesh/processes.js'
import { claimFolder, cleanFolder, daemonOf } from '@nsm/cli/mesh/state.js'
import t, { type Test } from 'tap'

function folder(t: Test): string {
  const parent = mkdtempSync(join(tmpdir(), 'nsm-'))
  t.teardown(() => rmSync(parent, { recursive: true, force: true }))
  writeFileSync(join(parent, 'other'), '')
  return join(parent, 'mesh')
}

t.test('a folder belongs to one living process', async (t) => {
  const path = folder(t)
  await claimFolder(path, 'm')
  t.equal((await daemonOf(path))?.pid, process.pid)
  await t.rejects(claimFolder(path, 'm'), {
    code: 'FAILED_PRECONDITION',
    message: /"m" is up already \(process \d+\)/,
  })
  await cleanFolder(path)
  t.notOk(existsSync(path))
})

t.test('what a dead one left is killed and removed, but never a stranger', async (t) => {
  const path = folder(t)
  mkdirSync(path)
  const left = spawn('sleep', ['60'])
  const stranger = spawn('sleep', ['60'])
  t.teardown(() => stranger.kill())
  const gone = new Promise((resolve) => left.once('exit', (_code, signal) => resolve(signal)))
  const ids = [
    await processId(left.pid ?? 0),
    { ...(await processId(stranger.pid ?? 0)), startTime: '1' },
    { pid: 1, startTime: '0' },
    'junk',
  ]
  writeFileSync(join(path, 'sandboxes.json'), JSON.stringify(ids))
  writeFileSync(join(path, 'daemon.json'), JSON.stringify([{ pid: process.pid, startTime: '1' }]))
  await claimFolder(path, 'm')
  t.equal(await gone, 'SIGKILL')
  t.ok(await processId(stranger.pid ?? 0))
  t.match(JSON.parse(readFileSync(join(path, 'daemon.json'), 'utf8')), [{ pid: process.pid }])
  t.notOk(existsSync(join(path, 'sandboxes.json')))
})

t.test('a state that is no JSON counts as none', async (t) => {
  const path = folder(t)
  mkdirSync(path)
  for (const name of ['daemon.json', 'sandboxes.json']) writeFileSync(join(path, name), '{')
  t.equal(await daemonOf(path), undefined)
  await claimFolder(path, 'm')
  t.ok(await daemonOf(path))
})

t.test('a process is told from a later one of the same pid', async (t) => {
  const self = await processId(process.pid)
  t.ok(self !== undefined && (await isAlive(self)))
  t.notOk(await isAlive({ pid: process.pid, startTime: '1' }))
  t.equal(await processId(2 ** 22 + 1), undefined)
  t.strictSame((await ancestry(process.pid)).slice(0, 2), [process.pid, process.ppid])
})

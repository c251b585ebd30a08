import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { until } from '../kit/until.ts'

const program = fileURLToPath(new URL('../../../scripts/limited', import.meta.url))

/** A shell script that is limited to so many seconds, in a folder of its own. */
async function limited(t: Test, seconds: number, script: string) {
  const folder = await mkdtemp(path.join(tmpdir(), 'nsm-limited-'))
  t.teardown(async () => rm(folder, { recursive: true }))
  const child = spawn(program, [String(seconds), '2', 'sh', '-c', script], { cwd: folder, stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit').then(([status]: unknown[]) => status)
  const file = (name: string) => path.join(folder, name)
  return { child, ended, file }
}

t.test('what ends by itself keeps its status', async (t) => {
  const { ended } = await limited(t, 600, 'exit 7')
  t.equal(await ended, 7)
})

t.test('what does not hear is killed with all that it started', async (t) => {
  const { ended, file } = await limited(t, 3, `trap '' TERM; sleep 600 & echo $! >pid; wait`)
  t.equal(await ended, 124)
  const pid = (await readFile(file('pid'), 'utf8')).trim()
  await until('it is gone', async () => {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tZ')
    return /^State:\tZ/m.test(status)
  })
})

t.test('who is told to end waits for those whose parent has ended before them', async (t) => {
  const child = `trap 'sleep 1; touch tidied; exit' TERM; touch ready; while :; do sleep 0.1; done`
  const { child: limit, ended, file } = await limited(t, 600, `sh -c "${child}"; true`)
  await until('it runs', () => existsSync(file('ready')))
  limit.kill('SIGTERM')
  await ended
  t.ok(existsSync(file('tidied')))
})

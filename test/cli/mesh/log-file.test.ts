import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lastLines, logFile } from '@nsm/cli/mesh/log-file.js'
import t, { type Test } from 'tap'

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'nsm-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

t.test('the newest output stays, within its bound', async (t) => {
  const path = join(folder(t), 'a.log')
  const log = logFile(path, 1_000)
  for (let i = 0; i < 50; i++) {
    log.write(Buffer.from(`${String(i).padStart(99, '.')}\n`))
    if (i % 7 === 0) await log.close()
  }
  await log.close()
  t.ok(statSync(path).size <= 1_000)
  t.ok(statSync(`${path}.1`).size <= 1_000)
  const all = readFileSync(`${path}.1`, 'utf8') + readFileSync(path, 'utf8')
  t.match(all, /49\n$/)
  t.match(await lastLines(path, 1), /49$/)
})

t.test('a log that can not be written costs nothing but itself', async (t) => {
  const log = logFile(join(folder(t), 'no', 'such', 'folder', 'a.log'))
  log.write(Buffer.from('x'))
  await log.close()
  t.equal(await lastLines('/no/such/file', 3), '')
})

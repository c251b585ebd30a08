import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { missingLibraries } from './debian.ts'

t.test('libraries that a kept program needs and the machine has not', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'nsm-debian-'))
  t.teardown(async () => rm(folder, { recursive: true }))
  const program = path.join(folder, 'program')
  const text = await readFile('/bin/ls', 'latin1')
  await writeFile(program, text.replace('libc.so.6\0', 'libq.so.6\0'), { encoding: 'latin1', mode: 0o755 })
  t.same(await missingLibraries(['/bin/ls']), [])
  t.same(await missingLibraries(['/bin/ls', program, program]), ['libq.so.6'])
})

import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { removeLeftovers } from './leftovers.ts'

t.test('work folders go; what came of others, and what is not ours, stays', async (t) => {
  const folder = await mkdtemp(path.join(tmpdir(), 'nsm-leftovers-'))
  t.teardown(async () => rm(folder, { recursive: true }))
  const kept = ['abc123', 'abc123.part', 'other.q1W2e3', 'abc123.q1W2e3x']
  for (const name of [...kept, 'abc123.q1W2e3', 'abc123.AAAAAA']) {
    await mkdir(path.join(folder, name))
    await writeFile(path.join(folder, name, 'file'), '')
  }
  await removeLeftovers(folder, /^[0-9a-f]+$/)
  t.same((await readdir(folder)).sort(), kept.sort())
})

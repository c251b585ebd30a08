import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import t from 'tap'
import { clustersFolder, layoutOf } from './layout.ts'
import { readState, removeFiles } from './state.ts'

const name = `state-${process.pid}`
const { folder } = layoutOf(name, 0, 0)
t.teardown(async () => rm(folder, { recursive: true, force: true }))

t.test('a folder without a word of what it holds is no cluster, and can be removed', async (t) => {
  await removeFiles(name)
  await mkdir(`${folder}/etcd/member`, { recursive: true })
  await writeFile(`${folder}/etcd/member/db`, '')
  t.equal(readState(name), undefined)
  await removeFiles(name)
  t.equal(existsSync(folder), false)
  await t.rejects(removeFiles('../elsewhere'), { message: /lower-case letters, digits and hyphens/ })
})

t.test('a file beside the clusters is none', async (t) => {
  await mkdir(clustersFolder, { recursive: true })
  await writeFile(folder, '')
  t.equal(readState(name), undefined)
})

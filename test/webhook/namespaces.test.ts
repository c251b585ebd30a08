import { silent, type Logger } from '@nsm/sdk/log.js'
import { namespacesFromFile } from '@nsm/webhook/namespaces.js'
import { renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const listOf = (value: string): string =>
  JSON.stringify({
    items: [{ metadata: { name: 'shop', labels: { a: value, b: 1 } } }, null, { metadata: {} }],
  })

t.test('the file is read, and read again when it is replaced; a broken one changes nothing', async (t) => {
  const path = join(t.testdir(), 'namespaces.json')
  await t.rejects(namespacesFromFile(path, silent), { code: 'NOT_FOUND' })
  writeFileSync(path, '{}')
  await t.rejects(namespacesFromFile(path, silent), /list of Namespace objects/)

  writeFileSync(path, listOf('one'))
  let warnings = 0
  const log: Logger = { ...silent, warn: () => void warnings++ }
  const namespaces = await namespacesFromFile(path, log)
  t.teardown(() => namespaces.close())
  t.same(namespaces.get('shop'), { labels: new Map([['a', 'one']]), annotations: new Map() })
  t.equal(namespaces.get('other'), undefined)

  writeFileSync(path, 'nonsense')
  await until(() => warnings > 0)
  t.equal(namespaces.get('shop')?.labels.get('a'), 'one')

  writeFileSync(`${path}.new`, JSON.stringify([{ metadata: { name: 'shop', labels: { a: 'two' } } }]))
  renameSync(`${path}.new`, path)
  await until(() => namespaces.get('shop')?.labels.get('a') === 'two')
})

t.test('a link that is turned to another file, as Kubernetes does', async (t) => {
  const folder = t.testdir({ '1.json': listOf('one'), '2.json': listOf('two') })
  const path = join(folder, 'namespaces.json')
  symlinkSync('1.json', path)
  const namespaces = await namespacesFromFile(path, silent)
  t.teardown(() => namespaces.close())
  unlinkSync(path)
  symlinkSync('2.json', path)
  await until(() => namespaces.get('shop')?.labels.get('a') === 'two')
})

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 1_000) throw new Error('never happened')
    await new Promise((done) => setTimeout(done, 10))
  }
}

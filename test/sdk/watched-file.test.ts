import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Fields, Logger } from '@nsm/sdk/log.js'
import { silent } from '@nsm/sdk/log.js'
import { watchFile, watchFiles } from '@nsm/sdk/watched-file.js'
import t, { type Test } from 'tap'
import { until } from '../kit/until.js'

const folder = async (t: Test): Promise<string> => {
  const path = await mkdtemp(join(tmpdir(), 'nsm-watched-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

const warnings = (): { seen: Fields[]; log: Logger } => {
  const seen: Fields[] = []
  return { seen, log: { ...silent, warn: (fields) => void seen.push(fields) } }
}

t.test('a file that comes, changes, is replaced and goes', async (t) => {
  const path = join(await folder(t), 'a.yaml')
  const taken: (string | undefined)[] = []
  const watched = await watchFile(path, (text) => void taken.push(text), { log: silent })
  t.teardown(() => watched.close())
  t.same(taken, [undefined])
  await writeFile(path, 'one')
  await until('the file is taken', () => taken.at(-1) === 'one')
  await writeFile(`${path}.new`, 'two')
  await rename(`${path}.new`, path)
  await until('it is taken over', () => taken.at(-1) === 'two')
  await rm(path)
  await until('it is taken over', () => taken.at(-1) === undefined)
})

t.test('folders above it that come and go', async (t) => {
  const base = await folder(t)
  const path = join(base, 'config', 'deep', 'a.yaml')
  let taken: string | undefined = 'nothing yet'
  const watched = await watchFile(path, (text) => void (taken = text), { log: silent })
  t.teardown(() => watched.close())
  t.equal(taken, undefined)
  for (const text of ['one', 'two']) {
    await mkdir(join(base, 'config', 'deep'), { recursive: true })
    await writeFile(path, text)
    await until('it is taken over', () => taken === text)
    await rm(join(base, 'config'), { recursive: true })
    await until('it is taken over', () => taken === undefined)
  }
})

t.test('the way Kubernetes replaces the files of a ConfigMap', async (t) => {
  const base = await folder(t)
  const publish = async (version: string): Promise<void> => {
    await mkdir(join(base, version))
    await writeFile(join(base, version, 'a.yaml'), version)
    await symlink(version, join(base, '..data_tmp'))
    await rename(join(base, '..data_tmp'), join(base, '..data'))
  }
  await publish('..v1')
  await symlink(join('..data', 'a.yaml'), join(base, 'a.yaml'))
  let taken: string | undefined
  const watched = await watchFile(join(base, 'a.yaml'), (text) => void (taken = text), { log: silent })
  t.teardown(() => watched.close())
  t.equal(taken, '..v1')
  await publish('..v2')
  await until('it is taken over', () => taken === '..v2')
})

t.test('what cannot be taken over is logged and changes nothing', async (t) => {
  const path = join(await folder(t), 'a.yaml')
  const replace = async (text: string): Promise<void> => {
    await writeFile(`${path}.new`, text)
    await rename(`${path}.new`, path)
  }
  await replace('good')
  const { seen, log } = warnings()
  const said = (what: RegExp): boolean => seen.some(({ err }) => what.test(String(err)))
  let taken: string | undefined
  const take = (text: string | undefined): void => {
    if (text === 'bad') throw new Error('bad text')
    taken = text
  }
  const watched = await watchFile(path, take, { log, maxBytes: 10 })
  t.teardown(() => watched.close())
  await replace('x'.repeat(11))
  await until('the length is refused', () => said(/11 bytes/))
  await replace('bad')
  await until('the text is refused', () => said(/bad text/))
  t.equal(taken, 'good')
})

t.test('a folder in place of the file is logged', async (t) => {
  const { seen, log } = warnings()
  const watched = await watchFile(await folder(t), () => t.fail('taken over'), { log })
  t.teardown(() => watched.close())
  t.match(seen, [{ err: /not a regular file|EISDIR/ }])
})

t.test('nothing is taken over after close', async (t) => {
  const path = join(await folder(t), 'a.yaml')
  const taken: (string | undefined)[] = []
  const watched = await watchFile(path, (text) => void taken.push(text), { log: silent, settleMs: 0 })
  const second = await watchFile(path, (text) => void taken.push(`second ${text}`), { log: silent })
  t.teardown(() => second.close())
  watched.close()
  await writeFile(path, 'late')
  await until('it is taken over', () => taken.includes('second late'))
  t.notOk(taken.includes('late'))
})

t.test('files that belong together are taken together', async (t) => {
  const base = await folder(t)
  await mkdir(join(base, 'other'))
  const [a, b] = [join(base, 'a'), join(base, 'other', 'b')]
  const taken: (readonly string[])[] = []
  const { seen, log } = warnings()
  const watch = async (): ReturnType<typeof watchFiles> =>
    watchFiles([a, b], (texts) => void taken.push(texts), { log, maxBytes: 10 })
  await t.rejects(watch(), { code: 'NOT_FOUND', message: `there is no file ${a}` })
  await writeFile(a, 'x'.repeat(11))
  await writeFile(b, 'b1')
  await t.rejects(watch(), { message: `${a} has 11 bytes, at most 10 are read` })
  await writeFile(a, 'a1')
  const watched = await watch()
  t.teardown(() => watched.close())
  t.same(taken, [['a1', 'b1']])
  await writeFile(b, 'b2')
  await until('one of them is taken over', () => taken.at(-1)?.[1] === 'b2')
  seen.length = 0
  await rm(join(base, 'other'), { recursive: true })
  await until('it is missed', () => seen.some(({ err }) => String(err).includes(b)))
  t.same(taken.at(-1), ['a1', 'b2'], 'what was there stays')
  await mkdir(join(base, 'other'))
  await writeFile(b, 'b3')
  await until('it is back', () => taken.at(-1)?.[1] === 'b3')
})

import { readdir, readlink } from 'node:fs/promises'
import { native } from '@nsm/native/native.js'
import t from 'tap'
import { netnses } from '../kit/netns.ts'
import { until } from '../kit/until.ts'

const group = 0x6e736d

async function make(a: number, b: number, count: number): Promise<string[]> {
  const names = Array.from({ length: count }, (_, n) => `nsm-${n}`)
  await Promise.all(
    names.map((name) =>
      native.createVeth({ a: { netnsFd: a, name }, b: { netnsFd: b, name }, mtu: 1500, group }),
    ),
  )
  return names
}

async function count(fd: number): Promise<number> {
  return (await native.read(fd, ['links'])).links.length - 1
}

t.test('a hundred links of one namespace go at once, with their other ends', async (t) => {
  const [a = -1, b = -1] = await netnses(t, 2)
  await native.deleteLinks(a, await make(a, b, 100))
  t.equal(await count(a), 0)
  t.equal(await count(b), 0)
})

t.test('a hundred calls, each for one link, share their batches', async (t) => {
  const [a = -1, b = -1] = await netnses(t, 2)
  const names = await make(a, b, 100)
  await Promise.all(names.map((name) => native.deleteLinks(a, [name])))
  t.equal(await count(a), 0)
  t.equal(await count(b), 0)
})

t.test('only what was named goes, and what is not there is no error', async (t) => {
  const [a = -1, b = -1] = await netnses(t, 2)
  await make(a, b, 4)
  await native.deleteLinks(a, ['nsm-1', 'nsm-3', 'absent', ''])
  t.same((await native.read(a, ['links'])).links.map((link) => link.name).sort(), ['lo', 'nsm-0', 'nsm-2'])
  t.same(new Set((await native.read(a, ['links'])).links.map((link) => link.group)), new Set([0, group]))
  await native.deleteLinks(a, ['nsm-1'])
  await t.rejects(native.deleteLinks(a, ['nsm-0', 'nsm-2', 'lo']), { code: 'EOPNOTSUPP', object: 'lo' })
  t.equal(await count(a), 0)
})

t.test('a name can be used again at once', async (t) => {
  const [a = -1, b = -1] = await netnses(t, 2)
  for (let n = 0; n < 5; n++) {
    await make(a, b, 1)
    await native.deleteLinks(b, ['nsm-0'])
  }
  t.equal(await count(a), 0)
})

async function openNamespaces(): Promise<string[]> {
  const fds = await readdir('/proc/self/fd')
  const links = await Promise.all(fds.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
  return links.filter((link) => link.startsWith('net:'))
}

t.test('when a namespace dies the other end goes: nothing of ours holds it', async (t) => {
  const [a = -1] = await netnses(t, 1)
  const before = await openNamespaces()
  const b = await native.createNetns()
  await make(a, b, 3)
  await native.apply(b, [{ op: 'link', name: 'nsm-0', up: true }])
  await native.read(b, ['links', 'routes'])
  await native.deleteLinks(b, ['nsm-2'])
  t.equal(await count(a), 2)
  native.close(b)
  await until('the other end is gone', async () => (await count(a)) === 0)
  t.same((await openNamespaces()).sort(), before.sort())
})

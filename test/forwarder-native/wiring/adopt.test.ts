import { native } from '@nsm/native/native.js'
import { orphanSweep } from '@nsm/forwarder-native/wiring/adopt.js'
import { linkGroup } from '@nsm/forwarder-native/wiring/link-names.js'
import { findNamespace, openNamespace, visibleNamespaces } from '@nsm/forwarder-native/wiring/namespaces.js'
import { silent } from '@nsm/sdk/log.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { netnses, occupant } from '../../kit/netns.ts'
import { until } from '../../kit/until.ts'

/** Tests beside this one see the same processes: only this one's links are its own. */
const forwarderName = `fwd-${process.pid}`
const group = linkGroup(forwarderName)

/** Pods that can be seen, with one link each of what a forwarder may find. */
async function found(t: { teardown(run: () => void): void }): Promise<number> {
  const [a = -1, b = -1] = await netnses(t, 2)
  for (const [name, owner, alias] of [
    ['mine', group, 'nsm:live:client'],
    ['orphan', group, 'nsm:dead:client'],
    ['unfinished', group, ''],
    ['others', linkGroup('another'), 'nsm:dead:client'],
    ['aliased', group, 'somebody'],
    ['eth0', 0, ''],
  ] as const) {
    await native.createVeth({ a: { netnsFd: a, name }, b: { netnsFd: b, name }, mtu: 1500, group: owner })
    if (alias !== '') await native.apply(a, [{ op: 'link', name, alias }])
  }
  occupant(t, a)
  const { inode } = native.describe(a)
  await until('the occupant can be seen', async () => (await visibleNamespaces()).has(inode))
  return a
}

async function names(fd: number): Promise<string[]> {
  return (await native.read(fd, ['links'])).links.map(({ name }) => name).sort()
}

t.test('links of ours without a connection go after the grace time, and nothing else', async (t) => {
  const fd = await found(t)
  const clock = handClock()
  const sweep = orphanSweep({
    native,
    clock,
    log: silent,
    forwarderName,
    graceMs: 600_000,
    owned: () => new Set(['nsm:live:client', 'nsm:live:endpoint']),
  })
  t.teardown(() => sweep.stop())
  await sweep.sweep()
  const all = await names(fd)
  t.equal(all.length, 7)
  clock.advance(599_999)
  await sweep.sweep()
  t.same(await names(fd), all)
  clock.advance(1)
  await sweep.sweep()
  t.same(await names(fd), ['aliased', 'eth0', 'lo', 'mine', 'others'])
})

t.test('a stopped sweep waits for nothing', async (t) => {
  const clock = handClock()
  const options = {
    native,
    clock,
    log: silent,
    forwarderName: 'nobody',
    graceMs: 1000,
    owned: () => new Set<string>(),
  }
  const sweep = orphanSweep(options)
  sweep.stop()
  t.equal(await sweep.sweep(), 0)
  t.equal(clock.pending, 0)
})

t.test('a namespace is found by its processes, and only if it is the one meant', async (t) => {
  const [fd = -1] = await netnses(t, 1)
  const netns = native.describe(fd)
  t.equal(await findNamespace(native, netns), undefined)
  occupant(t, fd)
  let same: number | undefined
  await until('it is found', async () => (same = await findNamespace(native, netns)) !== undefined)
  t.equal(native.describe(same ?? -1).inode, netns.inode)
  native.close(same ?? -1)
  t.equal(openNamespace(native, process.pid, netns.inode), undefined)
  const own = native.ownNetns()
  t.equal(openNamespace(native, process.pid, native.describe(own).inode), undefined)
  native.close(own)
})

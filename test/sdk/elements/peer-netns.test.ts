import { type DescriptorFunctions, type DescriptorInfo } from '@nsm/sdk/descriptors.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { peerNetns, type PeerNetns } from '@nsm/sdk/elements/peer-netns.js'
import { silent } from '@nsm/sdk/log.js'
import type { DescriptorChannel, Peer } from '@nsm/sdk/peer.js'
import t from 'tap'

const own = { dev: 4n, inode: 100n }
const other = { dev: 4n, inode: 200n }

interface World {
  readonly netns: PeerNetns
  readonly ctx: Ctx
  readonly warnings: string[]
  /** How often a namespace was taken unchecked. */
  readonly unverified: () => number
  /** How often the kernel was asked. */
  readonly asked: () => number
  /** What the kernel says from now on: a failure as `CODE operation`, or nothing for an answer. */
  kernel: (failure: string) => void
  readonly channel: () => DescriptorChannel
}

function world(isPod = true): World {
  const warnings: string[] = []
  let failure = ''
  let asked = 0
  let unverified = 0
  const info: DescriptorInfo = { ...own, kind: 'netns', isOwnNetns: false, isPathOnly: false }
  const native: DescriptorFunctions = { open: () => 9, close: () => undefined, describe: () => info }
  const log = { ...silent, warn: (fields: object) => void warnings.push(JSON.stringify(fields)) }
  const rules = { ownOnly: () => isPod, neverOwn: () => false, unverified: () => void (unverified += 1) }
  const channel = (): DescriptorChannel => ({
    send: () => other,
    receive: async () => 9,
    forget: () => undefined,
    peerCredentials: { pid: 0, uid: 0, gid: 0 },
    async peerNetns() {
      asked += 1
      const [code, operation] = failure.split(' ')
      if (failure !== '') throw Object.assign(new Error(failure), { code, operation })
      return 9
    },
  })
  const peer = { spiffeId: 'spiffe://k8s.nsm/ns/default/pod/a' } as Peer
  return {
    netns: peerNetns(native, rules),
    ctx: { ...background({ signal: new AbortController().signal }), log, peer },
    warnings,
    unverified: () => unverified,
    asked: () => asked,
    kernel: (next) => (failure = next),
    channel,
  }
}

t.test('the kernel is asked once for each connection', async (t) => {
  const { netns, ctx, asked, channel, warnings } = world()
  const one = channel()
  await t.rejects(netns.open(ctx, one, other), { code: 'PERMISSION_DENIED', message: /not the caller's own/ })
  await t.rejects(netns.open(ctx, one, other), { code: 'PERMISSION_DENIED' })
  t.equal(asked(), 1)
  t.equal(await netns.open(ctx, one, own), 9)
  t.same(warnings, [])
})

t.test('where nobody can be told, what was passed counts, and that is said once', async (t) => {
  const { netns, ctx, unverified, channel, warnings, kernel } = world()
  for (const failure of [
    'ESRCH SO_PEERCRED',
    'EACCES PIDFD_GET_NET_NAMESPACE',
    'EPERM setns',
    'EINVAL setns',
  ]) {
    kernel(failure)
    for (let n = 0; n < 3; n++) t.equal(await netns.open(ctx, channel(), other), undefined)
  }
  t.equal(unverified(), 12)
  t.equal(warnings.length, 4, 'once for each cause')
  t.match(warnings[0], 'ESRCH SO_PEERCRED')
})

t.test('a caller that makes itself untold is refused', async (t) => {
  const { netns, ctx, unverified, channel, kernel } = world()
  for (const failure of [
    'ESRCH PIDFD_GET_NET_NAMESPACE',
    'ESRCH setns',
    'ESRCH pidfd_open',
    'EINVAL SO_PEERPIDFD',
    'EMFILE SO_PEERPIDFD',
  ]) {
    kernel(failure)
    await t.rejects(netns.open(ctx, channel(), other), {
      code: 'PERMISSION_DENIED',
      message: new RegExp(`inode://4/200 is not taken: .* can't be told, since Error: ${failure}$`),
    })
  }
  t.equal(unverified(), 0)
})

t.test('a failure is not remembered', async (t) => {
  const { netns, ctx, channel, kernel } = world()
  const one = channel()
  kernel('EMFILE SO_PEERPIDFD')
  await t.rejects(netns.open(ctx, one, own), { code: 'PERMISSION_DENIED' })
  kernel('')
  t.equal(await netns.open(ctx, one, own), 9)
})

t.test('who may name any namespace is not asked for its own', async (t) => {
  const { netns, ctx, unverified, channel, warnings, kernel } = world(false)
  for (const failure of ['', 'ESRCH SO_PEERCRED', 'ESRCH setns']) {
    kernel(failure)
    t.equal(await netns.open(ctx, channel(), other), undefined)
  }
  t.equal(unverified(), 0)
  t.same(warnings, [])
})

import { setTimeout as pause } from 'node:timers/promises'
import type { AuthorityOptions } from '@nsm/spiffe/authority/authority.js'
import type { Issued } from '@nsm/spiffe/authority/certificates.js'
import type { RootChange, RootStore } from '@nsm/spiffe/authority/root-store.js'
import { SpiffeError } from '@nsm/spiffe/errors.js'
import { verifyChain } from '@nsm/spiffe/verify.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'
import t, { type Test } from 'tap'
import { runAuthority, type RunningAuthority } from '../../kit/authority.ts'
import { handClock } from '../../kit/clock.ts'
import { settled } from '../../kit/settled.ts'
import { until } from '../../kit/until.ts'

const hourMs = 3_600_000
const id = 'spiffe://k8s.nsm/ns/a/pod/b'

/** What several authorities see of one store whose changes are compared and swapped, as slow as a network. */
interface SharedStore {
  open(): RootStore
  readonly kept: readonly Issued[]
  /** Changes that came too late and were made again. */
  readonly conflicts: number
  empty(): void
  away: boolean
}

function sharedStore(): SharedStore {
  const listeners = new Set<() => void>()
  let kept: readonly Issued[] = []
  let version = 0
  let conflicts = 0
  const put = (next: readonly Issued[]): void => {
    kept = next
    version += 1
    for (const listener of listeners) listener()
  }
  const update = async (change: RootChange): Promise<readonly Issued[]> => {
    for (;;) {
      if (store.away) throw new SpiffeError('UNAVAILABLE', 'store is away')
      const seen = version
      const next = await change(kept)
      await pause(1)
      if (seen === version) {
        if (next !== undefined) put(next)
        return next ?? kept
      }
      conflicts += 1
    }
  }
  const store: SharedStore = {
    open: () => ({
      read: async () => kept,
      update,
      onChange(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    }),
    get kept() {
      return kept
    },
    get conflicts() {
      return conflicts
    },
    empty: () => put([]),
    away: false,
  }
  return store
}

async function run(
  t: Test,
  store: SharedStore,
  options: Partial<AuthorityOptions> = {},
): Promise<RunningAuthority> {
  const base = { trustDomain: 'k8s.nsm', attest: async () => id, rootStore: store.open() }
  const running = await runAuthority({ ...base, ...options })
  t.teardown(async () => running.stop())
  return running
}

function namesOf(roots: readonly { readonly fingerprint256: string }[]): readonly string[] {
  return roots.map(({ fingerprint256 }) => fingerprint256)
}

t.test('authorities that start at once on an empty store agree on one root', async (t) => {
  const store = sharedStore()
  const all = await Promise.all(Array.from({ length: 8 }, async () => run(t, store)))
  t.equal(store.kept.length, 1)
  t.ok(store.conflicts > 0, 'they did meet')
  const names = namesOf(store.kept.map(({ certificate }) => certificate))
  for (const { authority } of all) t.same(namesOf(authority.roots), names)

  const [first, second] = await Promise.all(
    all.slice(0, 2).map(async ({ address }) => x509Source({ address })),
  )
  t.teardown(() => (first?.close(), second?.close()))
  const [svid] = first!.current.svids
  t.equal(
    verifyChain(svid.certificates, second!.current.bundles, Date.now()).id,
    id,
    'workloads of both nodes meet',
  )
})

t.test('one of them renews the root at half its life, the others follow before it signs', async (t) => {
  const store = sharedStore()
  const clock = handClock(Date.now())
  const options = { clock, rootLifeMs: 8 * hourMs, rootSpreadMs: hourMs, renewalJitterMs: 60_000 }
  const all = await Promise.all([run(t, store, options), run(t, store, options), run(t, store, options)])
  const source = await x509Source({ address: all[1].address })
  t.teardown(() => source.close())
  const [old] = all[0].authority.roots
  clock.advance(4 * hourMs + 60_000)
  await until('all have both', () => all.every(({ authority }) => authority.roots.length === 2))
  await pause(20)
  t.equal(store.kept.length, 2, 'one new root for all')
  for (const { authority } of all) t.same(namesOf(authority.roots), namesOf(all[0].authority.roots))
  await until('workloads have both', () => source.current.bundles.get('k8s.nsm')?.length === 2)

  const early = await x509Source({ address: all[2].address })
  t.teardown(() => early.close())
  t.ok(early.current.svids[0].certificates[0].verify(old!.publicKey), 'the old one still signs')
  clock.advance(hourMs)
  const late = await x509Source({ address: all[2].address })
  t.teardown(() => late.close())
  t.ok(late.current.svids[0].certificates[0].verify(all[2].authority.roots[1]!.publicKey), 'now the new one')
})

t.test('a store that was emptied starts over: new root, and at once new identities of it', async (t) => {
  const store = sharedStore()
  const both = await Promise.all([run(t, store), run(t, store)])
  const source = await x509Source({ address: both[0].address })
  t.teardown(() => source.close())
  const [lost] = both[0].authority.roots
  store.empty()
  await until('a new identity', () => !source.current.svids[0].certificates[0].verify(lost!.publicKey))
  t.equal(store.kept.length, 1)
  for (const { authority } of both) {
    t.equal(authority.roots.length, 1)
    t.not(authority.roots[0]?.fingerprint256, lost?.fingerprint256)
  }
  t.equal(source.current.bundles.get('k8s.nsm')?.length, 1, 'the lost root is trusted no more')
})

t.test(
  'while the store is away identities are issued, and what could not be renewed is tried again',
  async (t) => {
    const store = sharedStore()
    const clock = handClock(Date.now())
    const problems: SpiffeError[] = []
    const onProblem = (err: SpiffeError): void => void problems.push(err)
    const { authority, address } = await run(t, store, { clock, rootLifeMs: 8 * hourMs, onProblem })
    store.away = true
    clock.advance(4 * hourMs)
    await until('a problem', () => problems.length > 0)
    t.match(problems, [{ code: 'UNAVAILABLE', message: /store is away/ }])
    const source = await x509Source({ address })
    t.teardown(() => source.close())
    t.equal(source.current.svids[0].id, id)
    store.away = false
    await settled()
    clock.advance(60_000)
    await until('the renewal', () => authority.roots.length === 2)
  },
)

t.test('roots of another trust domain in the store are refused', async (t) => {
  const store = sharedStore()
  await run(t, store)
  await t.rejects(run(t, store, { trustDomain: 'other.test' }), {
    code: 'FAILED_PRECONDITION',
    message: /other\.test/,
  })
})

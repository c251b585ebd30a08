import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { informer, type Change, type Informer } from '@nsm/kubernetes/informer.js'
import { silent } from '@nsm/sdk/log.js'
import fc from 'fast-check'
import { Readable } from 'node:stream'
import t, { type Test } from 'tap'
import { advance } from '../kit/advance.ts'
import { serverAndClient, type ServerAndClient } from '../kit/api-client.ts'
import { status } from '../kit/api-server.ts'
import { handClock } from '../kit/clock.ts'
import { fastClock } from '../kit/fast-clock.ts'
import { memoryApi } from '../kit/memory-api.ts'
import { until } from '../kit/until.ts'

const collection = '/api/v1/pods'

const pod = (name: string, value: string, namespace = 'default'): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace, labels: { value } },
})

const follower = async (t: Test, setup?: (both: ServerAndClient) => void) => {
  const both = await serverAndClient(t)
  setup?.(both)
  const pods = informer({
    client: both.client,
    path: collection,
    log: silent,
    clock: fastClock(200),
    staleAfterMs: 1_000_000,
  })
  t.teardown(() => pods.close())
  return { ...both, pods }
}

const stateOf = (objects: Iterable<KubernetesObject>): Record<string, unknown> =>
  Object.fromEntries(
    [...objects].map(({ metadata }) => [
      `${metadata.namespace}/${metadata.name}`,
      [metadata.uid, metadata.resourceVersion, metadata.labels?.['value']],
    ]),
  )

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
const sorted = (state: Record<string, unknown>): unknown =>
  Object.entries(state).sort(([a], [b]) => (a < b ? -1 : 1))

t.test('the first list, in pages, then changes', async (t) => {
  const { server, pods } = await follower(t, ({ server }) => {
    for (let n = 0; n < 1203; n += 1) server.store.put(collection, pod(`p${n}`, 'a'))
  })
  t.equal(pods.synced, false)
  await pods.whenSynced()
  t.equal(pods.synced, true)
  t.equal(pods.size, 1203)
  t.match(
    server.calls.slice(0, 3).map(({ query }) => query),
    [{ limit: '500' }, { continue: '500' }, { continue: '1000' }],
  )
  t.match(pods.get('default', 'p7'), { kind: 'Pod', apiVersion: 'v1', metadata: { name: 'p7' } })
  const uid = pods.get('default', 'p7')?.metadata.uid ?? ''
  t.equal(pods.byUid(uid), pods.get('default', 'p7'))

  const seen: Change<KubernetesObject>[] = []
  pods.onChange((change) => void seen.push(change))
  await until('it is watched', () => server.watches === 1)
  server.store.put(collection, pod('p7', 'b'))
  server.store.put(collection, pod('new', 'c'))
  server.store.remove(collection, 'default', 'p7')
  await until('all has been told', () => seen.length === 3)
  t.match(seen, [
    {
      type: 'modified',
      object: { metadata: { labels: { value: 'b' } } },
      previous: { metadata: { labels: { value: 'a' } } },
    },
    { type: 'added', object: { metadata: { name: 'new' } } },
    { type: 'deleted', object: { metadata: { name: 'p7' } } },
  ])
  t.equal(pods.byUid(uid), undefined)
  t.match(server.calls.at(-1)?.query, { watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: /^\d+$/ })
})

t.test('what is not wanted is not kept', async (t) => {
  const { server, client } = await serverAndClient(t)
  const managedFields = [{ manager: 'kubectl' }]
  server.store.put(collection, { ...pod('a', 'x'), metadata: { ...pod('a', 'x').metadata, managedFields } })
  const plain = informer({ client, path: collection, log: silent })
  t.teardown(() => plain.close())
  const keep = ({ metadata }: KubernetesObject): KubernetesObject => ({ metadata })
  const lean = informer({ client, path: collection, log: silent, keep })
  t.teardown(() => lean.close())
  await Promise.all([plain.whenSynced(), lean.whenSynced()])
  t.equal(plain.get('default', 'a')?.metadata['managedFields'], undefined)
  t.equal(plain.get('default', 'a')?.kind, 'Pod')
  t.same(Object.keys(lean.get('default', 'a') ?? {}), ['metadata'])
})

t.test('a server that restarts and has forgotten: what was missed is told', async (t) => {
  const { server, pods } = await follower(t, ({ server }) => {
    server.store.put(collection, pod('stays', 'a'))
    server.store.put(collection, pod('goes', 'a'))
    server.store.put(collection, pod('made anew', 'a'))
  })
  await pods.whenSynced()
  await until('it is watched', () => server.watches === 1)
  const last = server.store.put(collection, pod('last', 'a'))
  await until('the last is known', () => pods.get('default', 'last') !== undefined)
  const seen: string[] = []
  pods.onChange(({ type, object }) => void seen.push(`${type} ${object.metadata.name}`))
  await server.stop()
  server.store.remove(collection, 'default', 'goes')
  server.store.remove(collection, 'default', 'made anew')
  server.store.put(collection, pod('made anew', 'a'))
  server.store.put(collection, pod('comes', 'a'))
  server.store.compact()
  await server.start()
  await until('all is known', () => seen.length === 4)
  t.same(seen.toSorted(), ['added comes', 'added made anew', 'deleted goes', 'deleted made anew'])
  t.equal(pods.get('default', 'stays')?.metadata.name, 'stays')
  const relist = server.calls.findLast(({ query }) => query['limit'] !== undefined)
  const notOlder = { resourceVersionMatch: 'NotOlderThan', resourceVersion: last.metadata.resourceVersion }
  t.match(relist?.query, notOlder, 'the server may answer from memory, but nothing goes back')
})

t.test('a server whose storage was restored from an older copy', async (t) => {
  const { server, pods } = await follower(t)
  await pods.whenSynced()
  server.store.put(collection, pod('old', 'a'))
  const restore = server.store.copy()
  server.store.put(collection, pod('lost', 'a'))
  server.store.put(collection, pod('old', 'b'))
  await until('it is known', () => pods.get('default', 'old')?.metadata.labels?.['value'] === 'b')
  await server.stop()
  restore()
  server.store.put(collection, pod('other', 'a'))
  await server.start()
  await until('it is watched', () => server.watches === 1)
  server.bookmark()
  await until('what is lost is gone', () =>
    same(sorted(stateOf(pods.values())), sorted(stateOf(server.store.list(collection)))),
  )
  t.equal(pods.get('default', 'lost'), undefined)
})

t.test('a server that falls silent', async (t) => {
  const { server, pods } = await follower(t)
  await pods.whenSynced()
  await until('it is watched', () => server.watches === 1)
  let silent = 0
  // As a machine that has gone: the connection stays open and nothing comes.
  server.intercept = ({ query }, res) => {
    if (query['watch'] !== 'true' || silent > 0) return false
    silent += 1
    res.writeHead(200).flushHeaders()
    return true
  }
  server.endWatches()
  await until('the silent watch is there', () => silent === 1)
  server.store.put(collection, pod('a', 'x'))
  await until('it is known by the next watch', () => pods.get('default', 'a') !== undefined)
  t.equal(silent, 1)
})

t.test('a cache that nobody renews does not count as known', async (t) => {
  const { server, client } = await serverAndClient(t)
  const pods = informer({
    client,
    path: collection,
    log: silent,
    clock: fastClock(1000),
    staleAfterMs: 60_000,
  })
  t.teardown(() => pods.close())
  server.store.put(collection, pod('a', 'x'))
  await pods.whenSynced()
  t.equal(pods.synced, true)
  await server.stop()
  await until('it is too old', () => !pods.synced)
  t.equal(pods.size, 1, 'it is still there for who prefers old to nothing')
  await server.start()
  await until('it is fresh again', () => pods.synced)
})

t.test('waits between tries get longer, and differ', async (t) => {
  const { server, client } = await serverAndClient(t)
  server.intercept = (_, res) => {
    status(res, 500, 'InternalError', 'no storage')
    return true
  }
  const waits: number[] = []
  const clock = fastClock(1000)
  const pods = informer({
    client,
    path: collection,
    log: {
      ...silent,
      child: () => ({ ...silent, warn: (fields) => void waits.push(Number(fields['retry_ms'])) }),
    },
    clock,
  })
  t.teardown(() => pods.close())
  await until('it has tried often', () => waits.length >= 8)
  for (const [at, wait] of waits.entries()) {
    const most = Math.min(15_000, 500 * 2 ** at)
    t.ok(wait >= most / 2 && wait <= most, `wait ${at} is ${wait}`)
  }
})

t.test('a server that ends each watch at once is asked less and less often', async (t) => {
  const api = memoryApi()
  const clock = handClock()
  const path = '/apis/test/v1/things'
  const minuteMs = 60_000
  let opened = 0
  let isEnding = true
  const client: ApiClient = {
    ...api.client(),
    async stream(...call) {
      opened += 1
      // The bound lets this fail instead of going on for ever.
      return isEnding && opened < 100 ? Readable.from([]) : api.client().stream(...call)
    },
  }
  const things = informer({ client, path, log: silent, clock, random: () => 0 })
  t.teardown(() => things.close())
  await advance(clock, minuteMs)
  // After 0.5, 1, 2, 4, 8 s, and then each 15 s.
  t.equal(opened, 8)
  await advance(clock, minuteMs)
  t.equal(opened, 12)
  isEnding = false
  api.store.put(path, pod('a', 'x'))
  await advance(clock, minuteMs)
  t.equal(things.size, 1)
  t.equal(opened, 13)
})

t.test('whole lists are told', async (t) => {
  const { server, client } = await serverAndClient(t)
  server.store.put(collection, pod('a', 'x'))
  const listed: string[] = []
  const pods = informer({
    client,
    path: collection,
    log: silent,
    clock: fastClock(200),
    onList: ({ items, version }) =>
      void listed.push(
        `${items.map(({ metadata }) => metadata.name).join()} ${version === String(server.store.version)}`,
      ),
  })
  t.teardown(() => pods.close())
  await pods.whenSynced()
  t.same(listed, ['a true'])
  await until('it is watched', () => server.watches === 1)
  await server.stop()
  server.store.remove(collection, 'default', 'a')
  server.store.put(collection, pod('b', 'x'))
  server.store.compact()
  await server.start()
  await until('it was listed again', () => listed.length === 2)
  t.same(listed, ['a true', 'b true'])
})

t.test('selectors', async (t) => {
  const { server, client } = await serverAndClient(t)
  const select = { fieldSelector: 'metadata.name=a', labelSelector: 'value=x' }
  const pods = informer({ client, path: collection, select, log: silent })
  t.teardown(() => pods.close())
  await pods.whenSynced()
  await until('it is watched', () => server.watches === 1)
  server.store.put(collection, pod('b', 'x'))
  server.store.put(collection, pod('a', 'x'))
  await until('it is known', () => pods.size === 1)
  t.match(
    server.calls.map(({ query }) => query),
    [select, select],
  )
})

t.test('a listener that throws, one that leaves, and the end', async (t) => {
  const { server, pods } = await follower(t)
  const seen: string[] = []
  pods.onChange(() => {
    throw new Error('a fault of the listener')
  })
  const leave = pods.onChange(({ object }) => void seen.push(String(object.metadata.name)))
  await pods.whenSynced()
  server.store.put(collection, pod('a', 'x'))
  await until('it is told', () => seen.length === 1)
  leave()
  server.store.put(collection, pod('b', 'x'))
  await until('it is known', () => pods.size === 2)
  t.same(seen, ['a'])
  pods.close()
  await until('the watch is closed', () => server.watches === 0)
  const late = informer({ client: (await serverAndClient(t)).client, path: '/api/v1/things', log: silent })
  const waiting = late.whenSynced(AbortSignal.abort(new Error('enough')))
  await t.rejects(waiting, { message: 'enough' })
  const other = late.whenSynced()
  late.close()
  await t.rejects(other, { code: 'CANCELLED' })
})

/** What can happen to a server and what is in it. */
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), name: fc.nat(5), value: fc.nat(3) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), name: fc.nat(5) }) },
  ...(['bookmark', 'endWatches', 'cut', 'compact', 'stop', 'start', 'breathe'] as const).map((what) => ({
    weight: 1,
    arbitrary: fc.record({ do: fc.constant(what) }),
  })),
)

t.test('whatever happens, it ends in the server’s state, and so do its changes', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const { server, client } = await serverAndClient(t)
      const pods = informer({ client, path: collection, log: silent, clock: fastClock(500) })
      const told = replay(pods)
      let isUp = true
      for (const what of steps) {
        if (what.do === 'put')
          server.store.put(collection, pod(`p${what.name}`, String(what.value), `n${what.name % 2}`))
        else if (what.do === 'remove') server.store.remove(collection, `n${what.name % 2}`, `p${what.name}`)
        else if (what.do === 'compact') server.store.compact()
        else if (what.do === 'breathe') await new Promise((resolve) => setTimeout(resolve, 5))
        else if (what.do === 'stop' || what.do === 'start') {
          if (isUp !== (what.do === 'start')) await server[what.do]()
          isUp = what.do === 'start'
        } else server[what.do]()
      }
      if (!isUp) await server.start()
      await until('it knows what the server has', () =>
        same(sorted(stateOf(pods.values())), sorted(stateOf(server.store.list(collection)))),
      )
      if (!same(sorted(stateOf(told.state.values())), sorted(stateOf(pods.values()))))
        throw new Error('changes do not add up')
      if (told.faults.length > 0) throw new Error(told.faults.join())
      pods.close()
      client.close()
      await server.stop()
    }),
    { numRuns: 100 },
  )
})

/** A second cache, from the changes alone; faults are changes that cannot be. */
const replay = (pods: Informer<KubernetesObject>) => {
  const state = new Map<string, KubernetesObject>()
  const faults: string[] = []
  pods.onChange(({ type, object, previous }) => {
    const key = `${object.metadata.namespace}/${object.metadata.name}`
    const before = state.get(key)
    if (before !== previous) faults.push(`${type} ${key}: not what was there before`)
    if ((type === 'added') !== (before === undefined)) faults.push(`${type} ${key} is wrong`)
    if (type === 'deleted') state.delete(key)
    else state.set(key, object)
  })
  return { state, faults }
}

import { keptSecret, type KeptSecret } from '@nsm/kubernetes/kept-secret.js'
import { silent } from '@nsm/sdk/log.js'
import t, { type Test } from 'tap'
import { serverAndClient } from '../kit/api-client.ts'
import type { TestApiServer } from '../kit/api-server.ts'
import { until } from '../kit/until.ts'

const collection = '/api/v1/secrets'

const put = (server: TestApiServer, data?: Record<string, string>): void =>
  void server.store.put(collection, {
    apiVersion: 'v1',
    kind: 'Secret',
    type: 'Opaque',
    metadata: { namespace: 'nsm-system', name: 'ca', labels: { helm: 'made this' } },
    ...(data === undefined ? {} : { data }),
  })

const setup = async (t: Test, data?: Record<string, string>) => {
  const both = await serverAndClient(t)
  put(both.server, data)
  const open = async (): Promise<KeptSecret> => {
    const kept = await keptSecret({ client: both.client, namespace: 'nsm-system', name: 'ca', log: silent })
    t.teardown(() => kept.close())
    return kept
  }
  return { ...both, open }
}

const text = (kept: KeptSecret): Record<string, string> =>
  Object.fromEntries(Object.entries(kept.read()).map(([key, value]) => [key, value.toString()]))

t.test('an empty one is filled by one and seen by the other', async (t) => {
  const { server, open } = await setup(t)
  const [one, other] = await Promise.all([open(), open()])
  t.same(one.read(), {})
  let changes = 0
  other.onChange(() => void (changes += 1))
  await one.update(async (data) => {
    t.same(data, {})
    return { key: Buffer.from('secret') }
  })
  t.same(text(one), { key: 'secret' }, 'at once')
  await until('the other has heard', () => changes === 1)
  t.same(text(other), { key: 'secret' })
  t.match(server.store.get(collection, 'nsm-system', 'ca'), {
    type: 'Opaque',
    metadata: { labels: { helm: 'made this' } },
    data: { key: Buffer.from('secret').toString('base64') },
  })
  t.ok(
    server.calls.every(
      ({ path, query }) => path.endsWith('/secrets/ca') || query['fieldSelector'] === 'metadata.name=ca',
    ),
    'rights on this one secret are enough',
  )
})

t.test('many at once: each change counts, none is lost', async (t) => {
  const { open } = await setup(t, { count: Buffer.from('0').toString('base64') })
  const replicas = await Promise.all(Array.from({ length: 5 }, open))
  const increment = async (data: Readonly<Record<string, Buffer>>) => ({
    count: Buffer.from(String(Number(data['count']?.toString()) + 1)),
  })
  await Promise.all(replicas.flatMap((kept) => [kept.update(increment), kept.update(increment)]))
  await until('all have heard', () => replicas.every((kept) => text(kept)['count'] === '10'))
})

t.test('nothing is written when nothing is to change', async (t) => {
  const { server, open } = await setup(t)
  const kept = await open()
  await kept.update(async () => undefined)
  t.notOk(server.calls.some(({ method }) => method === 'PUT'))
  await t.rejects(
    kept.update(async () => {
      throw new Error('no idea')
    }),
    { message: 'no idea' },
  )
})

t.test('somebody else was faster: asked again with theirs', async (t) => {
  const { server, open } = await setup(t)
  const kept = await open()
  const seen: string[][] = []
  await kept.update(async (data) => {
    seen.push(Object.keys(data))
    if (seen.length === 1) put(server, { theirs: 'eA==' })
    return { ...data, ours: Buffer.from('y') }
  })
  t.same(seen, [[], ['theirs']])
  t.same(text(kept), { theirs: 'x', ours: 'y' })
})

t.test('listeners hear of data only, and what an old watch tells late does not go back', async (t) => {
  const { server, open } = await setup(t, { a: 'eA==' })
  const kept = await open()
  const seen: (string | undefined)[] = []
  const leave = kept.onChange(() => void seen.push(text(kept)['a']))
  put(server, { a: 'eA==' })
  put(server, { a: 'eQ==' })
  await until('it has heard', () => text(kept)['a'] === 'y')
  server.lagMs = 50
  await kept.update(async () => ({ a: Buffer.from('1') }))
  await kept.update(async () => ({ a: Buffer.from('2') }))
  t.equal(text(kept)['a'], '2')
  put(server, { a: Buffer.from('3').toString('base64') })
  await until('the watch has told all', () => seen.at(-1) === '3')
  t.same(seen, ['y', '1', '2', '3'])
  leave()
  await kept.update(async () => ({}))
  t.equal(seen.length, 4)
})

t.test('one that is not there: empty, and an update says so', async (t) => {
  const { server, open } = await setup(t)
  server.store.remove(collection, 'nsm-system', 'ca')
  const kept = await open()
  t.same(kept.read(), {})
  await t.rejects(
    kept.update(async () => ({ a: Buffer.from('x') })),
    { code: 'NOT_FOUND', message: /"ca" not found/ },
  )
  put(server)
  await kept.update(async () => ({ a: Buffer.from('x') }))
  t.same(text(kept), { a: 'x' })
})

t.test('a server that is away at first', async (t) => {
  const { server, client } = await setup(t, { a: 'eA==' })
  await server.stop()
  // Waits for a server that is away don't keep a process.
  const alive = setInterval(() => undefined, 1_000)
  t.teardown(() => clearInterval(alive))
  const options = { client, namespace: 'nsm-system', name: 'ca', log: silent }
  const waiting = AbortSignal.timeout(100)
  await t.rejects(keptSecret({ ...options, signal: waiting }), { code: 'DEADLINE_EXCEEDED' })
  const opening = keptSecret(options)
  await server.start()
  const kept = await opening
  t.teardown(() => kept.close())
  t.same(text(kept), { a: 'x' })
})

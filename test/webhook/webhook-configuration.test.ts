import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { silent } from '@nsm/sdk/log.js'
import { configuredBundle } from '@nsm/webhook/webhook-configuration.js'
import t, { type Test } from 'tap'
import { advance } from '../kit/advance.js'
import { serverAndClient, type ServerAndClient } from '../kit/api-client.js'
import type { TestApiServer } from '../kit/api-server.js'
import { handClock } from '../kit/clock.js'
import { until } from '../kit/until.js'

const collection = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'
const service = { name: 'nsm-webhook', namespace: 'nsm' }

function configure(
  server: TestApiServer,
  bundles: readonly (string | undefined)[] = [undefined, undefined],
): void {
  const ours = bundles.map((caBundle, i) => ({
    name: `w${i}.example.com`,
    clientConfig: { service, caBundle },
  }))
  const other = { name: 'other.example.com', clientConfig: { url: 'https://example.com', caBundle: 'eA==' } }
  server.store.put(collection, { kind: 'M', metadata: { name: 'nsm' }, webhooks: [...ours, other] })
}

function bundlesIn(server: TestApiServer): unknown[] {
  const { webhooks } = server.store.get(collection, undefined, 'nsm') as unknown as {
    webhooks: { clientConfig: { caBundle?: string } }[]
  }
  return webhooks.map(
    ({ clientConfig: { caBundle } }) => caBundle && Buffer.from(caBundle, 'base64').toString(),
  )
}

function publisher(
  t: Test,
  { client }: ServerAndClient,
  clock: Clock = systemClock,
): ReturnType<typeof configuredBundle> {
  const made = configuredBundle({ client, name: 'nsm', service, log: silent, clock })
  t.teardown(() => made.close())
  return made
}

t.test(
  'webhooks that call the Service get the bundle, others are left alone; nothing is written twice',
  async (t) => {
    const both = await serverAndClient(t)
    configure(both.server)
    const bundle = publisher(t, both)
    await bundle.publish('A')
    t.same(bundlesIn(both.server), ['A', 'A', 'x'])
    const { version } = both.server.store
    await bundle.publish('A')
    t.equal(both.server.store.version, version)
    await bundle.publish('AB')
    t.same(bundlesIn(both.server), ['AB', 'AB', 'x'])
  },
)

t.test('what somebody takes out is put back', async (t) => {
  const both = await serverAndClient(t)
  configure(both.server)
  const bundle = publisher(t, both)
  await bundle.publish('A')
  await until('it is followed', () => both.server.watches === 1)
  configure(both.server, [undefined, Buffer.from('A').toString('base64')])
  await until('it is back', () => bundlesIn(both.server)[0] === 'A')
  t.same(bundlesIn(both.server), ['A', 'A', 'x'])
})

t.test('a configuration that is made later gets it', async (t) => {
  const both = await serverAndClient(t)
  const bundle = publisher(t, both)
  await bundle.publish('A')
  await until('it is followed', () => both.server.watches === 1)
  configure(both.server)
  await until('it is there', () => bundlesIn(both.server)[0] === 'A')
})

t.test('several replicas write what differs, and nothing of each other is lost', async (t) => {
  const both = await serverAndClient(t)
  configure(both.server)
  const all = Array.from({ length: 5 }, () => publisher(t, both))
  await Promise.all(all.map(async (one) => one.publish('A')))
  t.same(bundlesIn(both.server), ['A', 'A', 'x'])
  await Promise.all(all.map(async (one) => one.publish('AB')))
  t.same(bundlesIn(both.server), ['AB', 'AB', 'x'])
})

t.test(
  'a bundle that cannot be written is an error for who publishes, and tried again when the server is asked later',
  async (t) => {
    const both = await serverAndClient(t)
    configure(both.server)
    const bundle = publisher(t, both)
    await bundle.publish('A')
    await until('it is followed', () => both.server.watches === 1)
    let refused = 0
    both.server.intercept = ({ method }, res) => {
      if (method !== 'PATCH' || refused > 0) return false
      refused += 1
      res.writeHead(403).end('{}')
      return true
    }
    configure(both.server)
    await until('it is there after a refusal', () => bundlesIn(both.server)[0] === 'A')
    t.equal(refused, 1)
    both.server.intercept = (call, res) => {
      if (call.method !== 'PATCH') return false
      res.writeHead(403).end('{}')
      return true
    }
    await t.rejects(bundle.publish('B'), { code: 'PERMISSION_DENIED' })
  },
)

const patches = ({ calls }: TestApiServer): number => calls.filter(({ method }) => method === 'PATCH').length

t.test('a replica that lags behind is answered more and more slowly, until it follows', async (t) => {
  const both = await serverAndClient(t)
  configure(both.server)
  const clock = handClock()
  const [one, lagging] = [publisher(t, both, clock), publisher(t, both, clock)]
  await lagging.publish('A')
  await until('both follow', () => both.server.watches === 2)
  await one.publish('AB')
  const minutes = 10
  for (let s = 0; s < minutes * 60; s++) {
    await advance(clock, 1_000)
    // Whatever the second brought about has arrived when the server has answered once more.
    await both.client.get(`${collection}/nsm`)
  }
  // Each replica: pauses that double from one second to a minute, cut by half at most, then one each half minute at most.
  const most = 2 * (7 + minutes * 2)
  const written = patches(both.server)
  t.ok(written >= 6 && written <= most, `${written} writes, at most ${most}`)
  await lagging.publish('AB')
  await advance(clock, 120_000)
  await until('they agree', () => bundlesIn(both.server)[0] === 'AB')
  const settledAt = patches(both.server)
  await advance(clock, 600_000)
  t.equal(patches(both.server), settledAt)
})

t.test('after a quarrel has calmed down, what is taken out is put back at once again', async (t) => {
  const both = await serverAndClient(t)
  configure(both.server)
  const clock = handClock()
  const bundle = publisher(t, both, clock)
  await bundle.publish('A')
  await until('it is followed', () => both.server.watches === 1)
  const isBackWithin = async (stepMs: number): Promise<void> =>
    until('it is back', async () => {
      await advance(clock, stepMs)
      return bundlesIn(both.server)[0] === 'A'
    })
  for (let round = 0; round < 8; round++) {
    configure(both.server)
    await isBackWithin(1_000)
  }
  clock.advance(601_000)
  const before = clock.now()
  configure(both.server)
  await isBackWithin(1)
  t.ok(clock.now() - before < 30_000, 'shorter than any pause would be by now')
})

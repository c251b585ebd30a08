import { silent } from '@nsm/sdk/log.js'
import { configuredBundle } from '@nsm/webhook/webhook-configuration.js'
import t, { type Test } from 'tap'
import { serverAndClient, type ServerAndClient } from '../kit/api-client.js'
import type { TestApiServer } from '../kit/api-server.js'
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

function publisher(t: Test, { client }: ServerAndClient): ReturnType<typeof configuredBundle> {
  const made = configuredBundle({ client, name: 'nsm', service, log: silent })
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

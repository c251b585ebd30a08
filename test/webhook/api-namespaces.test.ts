import { silent } from '@nsm/sdk/log.js'
import { namespacesFromApi } from '@nsm/webhook/api-namespaces.js'
import type { Namespaces } from '@nsm/webhook/namespaces.js'
import t, { type Test } from 'tap'
import { serverAndClient, type ServerAndClient } from '../kit/api-client.js'
import { handClock, type HandClock } from '../kit/clock.js'
import { until } from '../kit/until.js'

const key = 'networkservicemesh.io'

function put({ server }: ServerAndClient, name: string, metadata: object = {}): void {
  server.store.put('/api/v1/namespaces', { kind: 'Namespace', metadata: { name, ...metadata } })
}

function open(t: Test, { client }: ServerAndClient, clock?: HandClock): Namespaces {
  const namespaces = namespacesFromApi({
    client,
    annotation: key,
    log: silent,
    ...(clock === undefined ? {} : { clock }),
  })
  t.teardown(() => namespaces.close())
  return namespaces
}

t.test('namespaces are followed; only what decides is kept', async (t) => {
  const cluster = await serverAndClient(t)
  put(cluster, 'shop', { labels: { a: '1' }, annotations: { [key]: 'kernel://db', large: 'x' } })
  const namespaces = open(t, cluster)
  t.match(namespaces.fault(), /not read yet/)
  await until('they are read', () => namespaces.fault() === undefined)
  t.same(namespaces.get('shop'), {
    labels: new Map([['a', '1']]),
    annotations: new Map([[key, 'kernel://db']]),
  })
  put(cluster, 'shop', { labels: { a: '2' } })
  await until('the change is known', () => namespaces.get('shop')?.labels.get('a') === '2')
  t.same(namespaces.get('shop')?.annotations, new Map())
  cluster.server.store.remove('/api/v1/namespaces', undefined, 'shop')
  await until('it is gone', () => namespaces.get('shop') === undefined)
})

t.test('one that is just being made is waited for, one that never comes a moment only', async (t) => {
  const cluster = await serverAndClient(t)
  const clock = handClock()
  const namespaces = open(t, cluster, clock)
  await until('they are followed', () => cluster.server.watches === 1)
  const coming = namespaces.known('late').then(() => namespaces.get('late'))
  put(cluster, 'late')
  t.ok(await coming)
  const never = namespaces.known('never').then(() => namespaces.get('never'))
  clock.advance(1_000)
  t.equal(await never, undefined)
})

t.test('what was known stays known while the server is away', async (t) => {
  const cluster = await serverAndClient(t)
  put(cluster, 'shop')
  const clock = handClock()
  const namespaces = open(t, cluster, clock)
  await until('they are read', () => namespaces.fault() === undefined)
  await cluster.server.stop()
  clock.advance(3_600_000)
  t.ok(namespaces.get('shop'))
  t.equal(namespaces.fault(), undefined)
  await cluster.server.start()
})

t.test('nobody waits after the end', async (t) => {
  const namespaces = open(t, await serverAndClient(t))
  const waiting = namespaces.known('never')
  namespaces.close()
  await waiting
  t.equal(namespaces.get('never'), undefined)
})

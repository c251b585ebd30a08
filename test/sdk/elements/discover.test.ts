import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import type { Connection, DeepPartial } from '@nsm/api/gen/connection.js'
import { chain, connectionOf, type Element } from '@nsm/sdk/chain.js'
import { background, valueOf } from '@nsm/sdk/ctx.js'
import { clientUrl, closeUrl } from '@nsm/sdk/elements/client-url.js'
import { discover } from '@nsm/sdk/elements/discover.js'
import { roundRobin } from '@nsm/sdk/elements/round-robin.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { endpoint } from '../../kit/registry-conformance.ts'
import { newStores, service } from '../../kit/registry-mesh.ts'

const ctx = background()

function ask(connection: DeepPartial<Connection>): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({ connection: { id: 'c', networkService: 'db', ...connection } })
}

/** Endpoints `e0`, `e1`, `e2` of `db`; the names in `down` refuse. */
async function world(...down: string[]) {
  const stores = newStores()
  await stores.networkServices.register(ctx, service('db', { payload: 'ETHERNET' }))
  for (const n of [0, 1, 2])
    await stores.networkServiceEndpoints.register(ctx, endpoint(`e${n}`, { url: `tcp://10.0.0.${n}:1` }))
  const asked: string[] = []
  const end: Element = {
    name: 'end',
    async request(c, req) {
      const conn = connectionOf(req)
      asked.push(`${conn.networkServiceEndpointName} ${valueOf(c, clientUrl)}`)
      if (down.includes(conn.networkServiceEndpointName)) throw new NsmError('UNAVAILABLE', 'it is down')
      return conn
    },
    async close(c, conn) {
      asked.push(`close ${conn.networkServiceEndpointName} ${await valueOf(c, closeUrl)?.()}`)
    },
  }
  return { stores, asked, service: chain([discover(stores), roundRobin(), end]) }
}

t.test('endpoints of a service are taken in turn; name, url and payload are filled in', async (t) => {
  const { asked, service } = await world()
  for (let n = 0; n < 4; n++) {
    const conn = await service.request(ctx, ask({}))
    t.match(conn, { networkServiceEndpointName: `e${n % 3}`, payload: 'ETHERNET' })
  }
  t.same(
    asked,
    [0, 1, 2, 0].map((n) => `e${n} tcp://10.0.0.${n}:1`),
  )
})

t.test('one that refuses is followed by the next, each is asked once, all reasons are told', async (t) => {
  const some = await world('e0', 'e1')
  t.match(await some.service.request(ctx, ask({})), { networkServiceEndpointName: 'e2' })
  const all = await world('e0', 'e1', 'e2')
  await t.rejects(all.service.request(ctx, ask({})), {
    code: 'UNAVAILABLE',
    message: 'no endpoint of db accepted the request: e0: it is down; e1: it is down; e2: it is down',
  })
  t.equal(all.asked.length, 3)
})

t.test('a caller that gives up ends the tries', async (t) => {
  const { asked, service } = await world('e0', 'e1', 'e2')
  const aborted = background({ signal: AbortSignal.abort(new NsmError('CANCELLED', 'given up')) })
  await t.rejects(service.request(aborted, ask({})))
  t.same(asked, [])
})

t.test('a named endpoint is the only one, by its exact name, and leaves the payload', async (t) => {
  const { asked, service } = await world('e1')
  t.match(await service.request(ctx, ask({ networkServiceEndpointName: 'e2', payload: 'IP' })), {
    payload: 'IP',
  })
  t.same(asked, ['e2 tcp://10.0.0.2:1'])
  await t.rejects(service.request(ctx, ask({ networkServiceEndpointName: 'e1' })), { message: 'it is down' })
  await t.rejects(service.request(ctx, ask({ networkServiceEndpointName: 'e' })), {
    code: 'NOT_FOUND',
    message: 'network service endpoint e is not found',
  })
})

t.test('what is missing is told', async (t) => {
  const { stores, service: chained } = await world()
  const missing = { code: 'NOT_FOUND', message: /^network service none is not found: / }
  await t.rejects(chained.request(ctx, ask({ networkService: 'none' })), missing)
  await t.rejects(chained.request(ctx, ask({ payload: 'IP' })), {
    message: /^network service db is not found: /,
  })
  const routes = [{ destinationSelector: { app: 'mysql' }, weight: 0 }]
  const match = { sourceSelector: {}, routes, fallthrough: false, metadata: undefined }
  await stores.networkServices.register(ctx, service('db', { matches: [match] }))
  await t.rejects(chained.request(ctx, ask({})), {
    code: 'NOT_FOUND',
    message: /^network service endpoint candidates not found: none of the 3 endpoints of db has the labels/,
  })
})

t.test('the endpoint of a close can be asked for, and may be not found', async (t) => {
  const { asked, service } = await world()
  const conn = connectionOf(ask({ networkServiceEndpointName: 'e1' }))
  await service.close(ctx, conn)
  await service.close(ctx, { ...conn, networkServiceEndpointName: 'gone' })
  await service.close(ctx, { ...conn, networkServiceEndpointName: '' })
  t.same(asked, ['close e1 tcp://10.0.0.1:1', 'close gone undefined', 'close  undefined'])
})

t.test('a close that fails at the endpoint fails', async (t) => {
  const { stores } = await world()
  const end: Element = {
    name: 'end',
    close: async () => {
      throw new NsmError('INTERNAL', 'boom')
    },
  }
  const conn = connectionOf(ask({ networkServiceEndpointName: 'e1' }))
  await t.rejects(chain([discover(stores), end]).close(ctx, conn), { code: 'INTERNAL' })
})

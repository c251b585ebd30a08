import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { begin } from '@nsm/sdk/elements/begin.js'
import { connectTo } from '@nsm/sdk/elements/connect-to.js'
import t from 'tap'
import { recording, refusing } from '../../kit/elements.ts'

const ctx = background()
const connection = Connection.fromPartial({ id: 'a' })

function joined() {
  const client = recording()
  const clientRefuses = refusing()
  const rest = recording()
  const restRefuses = refusing()
  clientRefuses.state.on = false
  restRefuses.state.on = false
  const answering = chain([
    client.element,
    clientRefuses.element,
    {
      name: 'answering',
      request: async (ctx, req, next) => ({ ...(await next.request(ctx, req)), payload: 'IP' }),
    },
  ])
  const service = chain([
    begin('server'),
    connectTo(chain([begin('client')], answering)),
    rest.element,
    restRefuses.element,
  ])
  const request = () => service.request(ctx, { connection, mechanismPreferences: [] })
  return { client, clientRefuses, rest, restRefuses, service, request }
}

t.test('the client’s answer goes on through the rest of the chain', async (t) => {
  const { client, rest, service, request } = joined()
  t.equal((await request()).payload, 'IP')
  t.same([client.requests[0]?.payload, rest.requests[0]?.payload], ['', 'IP'])
  await service.close(ctx, connection)
  t.same([client.closes.length, rest.closes.length], [1, 1])
})

t.test('a new connection that the rest refuses is closed by the client, an old one stays', async (t) => {
  const { client, restRefuses, request } = joined()
  restRefuses.state.on = true
  await t.rejects(request(), { code: 'UNAVAILABLE' })
  t.equal(client.closes.length, 1)
  restRefuses.state.on = false
  await request()
  restRefuses.state.on = true
  await t.rejects(request(), { code: 'UNAVAILABLE' })
  t.equal(client.closes.length, 1)
})

t.test('the rest is closed even when the client cannot', async (t) => {
  const { rest, clientRefuses, service, request } = joined()
  await request()
  clientRefuses.state.on = true
  await t.rejects(service.close(ctx, connection), { code: 'UNAVAILABLE' })
  t.equal(rest.closes.length, 1)
})

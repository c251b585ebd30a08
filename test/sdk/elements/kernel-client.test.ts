import { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import t from 'tap'

const ctx = background()
const ask = (id: string, parameters: Record<string, string> = {}): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({
    connection: {
      id,
      networkService: 'icmp-responder',
      mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters },
    },
  })

async function sent(element: Element, req: NetworkServiceRequest): Promise<NetworkServiceRequest> {
  let seen = req
  const end: Element = {
    name: 'end',
    request: (ctx, inner, next) => ((seen = inner), next.request(ctx, inner)),
  }
  await chain([element, end]).request(ctx, req)
  return seen
}

t.test('a forwarder offers KERNEL and nothing about itself', async (t) => {
  const req = NetworkServiceRequest.fromPartial({
    connection: { id: 'a' },
    mechanismPreferences: [{ cls: 'LOCAL', type: 'MEMIF' }],
  })
  const { mechanismPreferences } = await sent(kernelClient(), req)
  t.match(mechanismPreferences, [{ type: 'MEMIF' }, { cls: 'LOCAL', type: 'KERNEL' }])
  t.same(mechanismPreferences[1]?.parameters, {})
})

t.test(
  'a client offers its namespace under the name that was asked for, or one that stays the same',
  async (t) => {
    const client = kernelClient({ netnsUrl: 'file:///mine' })
    const named = NetworkServiceRequest.fromPartial({
      connection: { id: 'a', networkService: 's' },
      mechanismPreferences: [{ cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'nsm-1' } }],
    })
    t.match((await sent(client, named)).mechanismPreferences, [
      { parameters: { name: 'nsm-1', inodeURL: 'file:///mine' } },
    ])
    const bare = NetworkServiceRequest.fromPartial({ connection: { id: 'a', networkService: 's' } })
    const [first, second] = [await sent(client, bare), await sent(client, bare)]
    t.match(first.mechanismPreferences[0]?.parameters['name'], /^s-[0-9A-Za-z]{13}$/)
    t.same(first.mechanismPreferences, second.mechanismPreferences)

    const refresh = await sent(client, ask('a', { name: 'nsm-1', inodeURL: 'inode://4/1' }))
    t.match(refresh.connection?.mechanism?.parameters, { name: 'nsm-1', inodeURL: 'file:///mine' })
  },
)

t.test('its interface towards the endpoint is told on the path', async (t) => {
  const answering: Element = {
    name: 'answering',
    request: async (_ctx, { connection }) =>
      Connection.fromPartial({
        ...connection,
        mechanism: { type: 'KERNEL', parameters: { name: 'nse-1' } },
      }),
  }
  const req = NetworkServiceRequest.fromPartial({
    connection: { id: 'a', path: { index: 0, pathSegments: [{ name: 'hop', id: 'a' }, { name: 'next' }] } },
  })
  const { path } = await chain([kernelClient(), answering]).request(ctx, req)
  t.same(
    path?.pathSegments.map(({ metrics }) => metrics),
    [{ client_interface: 'KERNEL/nse-1' }, {}],
  )
})

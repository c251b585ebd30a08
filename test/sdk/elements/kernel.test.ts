import type { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { interfaceNameFault } from '@nsm/api/interface-name.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import { kernelServer } from '@nsm/sdk/elements/kernel-server.js'
import { newInterfaceName } from '@nsm/sdk/interface-name.js'
import * as fc from 'fast-check'
import t from 'tap'
import { refusing } from '../../kit/elements.js'

const ctx = background()
const ask = (id: string, parameters: Record<string, string> = {}): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({
    connection: {
      id,
      networkService: 'icmp-responder',
      mechanism: { cls: 'LOCAL', type: 'KERNEL', parameters },
    },
  })
const nameOf = (conn: Connection): string => conn.mechanism?.parameters['name'] ?? ''

t.test('an endpoint answers with its own namespace and a name of its making', async (t) => {
  const nse = chain([kernelServer()])
  const conn = await nse.request(ctx, ask('a', { inodeURL: 'inode://4/4026532573', other: 'x' }))
  t.match(conn.mechanism?.parameters, { inodeURL: 'file:///proc/thread-self/ns/net', other: 'x' })
  t.match(nameOf(conn), /^icmp-respo-[0-9A-Za-z]{4}$/)
  t.equal(nameOf(await nse.request(ctx, ask('a'))), nameOf(conn), 'even when the refresh forgot it')
  t.equal(nameOf(await chain([kernelServer()]).request(ctx, ask('a'))), nameOf(conn), 'and after a restart')
  t.not(nameOf(await nse.request(ctx, ask('b'))), nameOf(conn))
})

t.test('a name that came is kept, unless it is no name', async (t) => {
  const nse = chain([kernelServer({ netnsUrl: 'file:///x' })])
  t.match((await nse.request(ctx, ask('a', { name: 'nsm-1' }))).mechanism?.parameters, {
    name: 'nsm-1',
    inodeURL: 'file:///x',
  })
  for (const name of ['lo', 'eth0', '..', 'a/b', 'sixteen-bytes-xx', 'nsm%d', 'näh', 'default']) {
    await t.rejects(nse.request(ctx, ask('b', { name })), {
      code: 'INVALID_ARGUMENT',
      message: /mechanism parameter name/,
    })
  }
})

t.test('a taken name is not made up again, until its connection is closed', async (t) => {
  const { state, element } = refusing()
  state.on = false
  const nse = chain([kernelServer(), element])
  const wanted = newInterfaceName('icmp-responder', 'b 0')
  const first = await nse.request(ctx, ask('a', { name: wanted }))
  t.not(nameOf(await nse.request(ctx, ask('b'))), wanted)
  state.on = true
  await t.rejects(nse.request(ctx, ask('c', { name: newInterfaceName('icmp-responder', 'd 0') })))
  await t.rejects(nse.close(ctx, first))
  state.on = false
  t.equal(nameOf(await nse.request(ctx, ask('d'))), newInterfaceName('icmp-responder', 'd 0'))
})

t.test('another mechanism is none of its business', async (t) => {
  const req = NetworkServiceRequest.fromPartial({ connection: { id: 'a', mechanism: { type: 'MEMIF' } } })
  t.same((await chain([kernelServer()]).request(ctx, req)).mechanism?.parameters, {})
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

t.test('made-up names are names', (t) => {
  const services = fc.oneof(
    fc.string({ unit: 'binary-ascii' }),
    fc.constantFrom('', '@', '..', 'svc@my.cluster', 'ünï'),
  )
  fc.assert(
    fc.property(services, fc.string(), (service, seed) => {
      const name = newInterfaceName(service, seed)
      return name.length === 15 && interfaceNameFault(name) === undefined
    }),
    { numRuns: 50 },
  )
  t.end()
})

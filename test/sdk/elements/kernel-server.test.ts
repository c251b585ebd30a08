import type { Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { kernelServer } from '@nsm/sdk/elements/kernel-server.js'
import { newInterfaceName } from '@nsm/sdk/interface-name.js'
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

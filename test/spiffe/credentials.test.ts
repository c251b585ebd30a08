import {
  Client,
  Server,
  type ClientDuplexStream,
  type ServerDuplexStream,
  type ServiceError,
} from '@grpc/grpc-js'
import { once } from 'node:events'
import net from 'node:net'
import { anyId, memberOf, oneOf, type Authorise } from '@nsm/spiffe/authorise.js'
import { channelCredentials, peerId, serveSecure } from '@nsm/spiffe/credentials.js'
import type { SpiffeError } from '@nsm/spiffe/errors.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import t, { type Test } from 'tap'
import { testAuthority } from '../kit/identity.ts'

type Echo = ClientDuplexStream<Buffer, Buffer>

const same = (bytes: Buffer): Buffer => bytes

interface Running {
  readonly port: number
  readonly refused: SpiffeError[]
  /** SPIFFE ID and certificate serial number of each call's peer, at its start. */
  readonly peers: string[]
}

/** An echo that says who spoke. */
async function serveEcho(t: Test, source: X509Source, authorise: Authorise = anyId): Promise<Running> {
  const refused: SpiffeError[] = []
  const peers: string[] = []
  const server = new Server()
  const method = {
    path: '/test/Echo',
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  } as const
  server.addService(
    { Echo: method },
    {
      Echo(call: ServerDuplexStream<Buffer, Buffer>) {
        const id = peerId(call)?.id ?? 'nobody'
        peers.push(`${id} ${call.getAuthContext().sslPeerCertificate?.serialNumber ?? ''}`)
        call.on('data', (data: Buffer) => call.write(Buffer.from(`${id}: ${data.toString()}`)))
        call.on('end', () => call.end())
      },
    },
  )
  const listener = net.createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const stop = serveSecure({ server, listener, source, authorise, onRefused: (err) => refused.push(err) })
  t.teardown(() => {
    stop()
    listener.close()
    server.forceShutdown()
  })
  return { port: (listener.address() as net.AddressInfo).port, refused, peers }
}

function clientTo(t: Test, port: number, source: X509Source, authorise: Authorise = anyId): Client {
  const client = new Client(`127.0.0.1:${port}`, channelCredentials(source, authorise), {
    'grpc.use_local_subchannel_pool': 1,
  })
  t.teardown(() => client.close())
  return client
}

function open(client: Client): Echo {
  return client.makeBidiStreamRequest('/test/Echo', same, same)
}

async function say(call: Echo, text: string): Promise<string> {
  call.write(Buffer.from(text))
  const [answer] = (await once(call, 'data')) as [Buffer]
  return answer.toString()
}

t.test('both ends know each other by their SPIFFE IDs', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const { port } = await serveEcho(t, ca.source('/server'), memberOf('k8s.nsm'))
  const call = open(clientTo(t, port, ca.source('/client'), oneOf('spiffe://k8s.nsm/server')))
  t.equal(await say(call, 'hello'), 'spiffe://k8s.nsm/client: hello')
  t.equal(peerId(call)?.id, 'spiffe://k8s.nsm/server')
  call.end()
  await once(call, 'end')
})

t.test('both ends rotate under a live stream, new connections show the new SVIDs', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const [serverSource, clientSource] = [ca.source('/server'), ca.source('/client')]
  const { port, peers } = await serveEcho(t, serverSource)
  const live = open(clientTo(t, port, clientSource))
  await say(live, 'one')
  const server = serverSource.rotate()
  const client = clientSource.rotate()
  t.equal(await say(live, 'two'), 'spiffe://k8s.nsm/client: two')

  const fresh = open(clientTo(t, port, clientSource))
  await say(fresh, 'three')
  t.not(peers[0], peers[1])
  t.equal(peers[1], `spiffe://k8s.nsm/client ${client.certificates[0].serialNumber}`)
  t.equal(fresh.getAuthContext()?.sslPeerCertificate?.serialNumber, server.certificates[0].serialNumber)
  t.equal(await say(live, 'four'), 'spiffe://k8s.nsm/client: four')
  for (const call of [live, fresh]) {
    call.end()
    await once(call, 'end')
  }
})

t.test('who is not authorised gets no call through', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const stranger = await testAuthority('k8s.nsm')
  const { port, refused, peers } = await serveEcho(t, ca.source('/server'), oneOf('spiffe://k8s.nsm/friend'))
  const attempts: [X509Source, Authorise, string | undefined][] = [
    [ca.source('/client'), anyId, 'PERMISSION_DENIED'],
    [stranger.source('/friend', { bundles: ca.bundles }), anyId, 'UNAUTHENTICATED'],
    [ca.source('/friend'), oneOf('spiffe://k8s.nsm/other'), undefined],
  ]
  for (const [source, authorise, code] of attempts) {
    const call = open(clientTo(t, port, source, authorise))
    const [err] = (await once(call, 'error')) as [ServiceError]
    t.equal(err.code, 14)
    if (code !== undefined) t.equal(refused.at(-1)?.code, code)
  }
  t.same(peers, [])
})

t.test('a call that is on no such connection has no peer', (t) => {
  t.equal(peerId({ getAuthContext: () => ({}) }), undefined)
  t.equal(peerId({ getAuthContext: () => null }), undefined)
  t.end()
})

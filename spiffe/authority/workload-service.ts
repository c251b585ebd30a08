import {
  Server,
  ServerCredentials,
  status,
  type Metadata,
  type MethodDefinition,
  type ServerWritableStream,
} from '@grpc/grpc-js'
import type { Duplex } from 'node:stream'
import {
  SpiffeWorkloadAPIDefinition as service,
  X509BundlesResponse,
  X509SVIDResponse,
  type MessageFns,
  type X509BundlesRequest,
  type X509SVIDRequest,
} from '../gen/workload.ts'
import type { Clock } from '../clock.ts'
import type { X509Svid } from '../svid.ts'
import { securityHeader } from '../workload-stream.ts'
import { chainDer } from '../x509-svid.ts'
import type { Ca } from './ca.ts'
import type { Caller } from './caller.ts'
import type { Subscribers } from './subscribers.ts'

export interface CallerConnection {
  readonly socket: Duplex
  readonly caller: () => Promise<Caller>
  readonly ca: Ca
  readonly streams: Subscribers
  readonly clock: Clock
}

const options = {
  'grpc.max_concurrent_streams': 32,
  'grpc.max_receive_message_length': 4096,
  // Its registry would keep every server there ever was.
  'grpc.enable_channelz': 0,
}

const drainMs = 1000

/**
 * Serves the Workload API on one connection; the answer ends it. A gRPC server for each, since grpc-js does not tell a
 * handler which connection a call came in on.
 */
export function serveConnection({
  socket,
  caller,
  ca,
  streams,
  clock,
}: CallerConnection): () => Promise<void> {
  const server = new Server(options)
  const serve =
    <Req, Res>(renew: (id: string) => Promise<() => Res>) =>
    (call: ServerWritableStream<Req, Res>): void => {
      if (isMarked(call.metadata)) streams.serve({ call, caller, renew })
      else
        call.emit('error', {
          code: status.INVALID_ARGUMENT,
          details: `metadata ${securityHeader} must be true`,
        })
    }
  const { fetchX509SVID, fetchX509Bundles } = service.methods
  server.addService(
    {
      FetchX509SVID: definition(fetchX509SVID),
      FetchX509Bundles: definition(fetchX509Bundles),
    },
    {
      FetchX509SVID: serve<X509SVIDRequest, X509SVIDResponse>(async (id) => {
        const svid = await ca.issue(id)
        return () => svidMessage(svid, ca)
      }),
      FetchX509Bundles: serve<X509BundlesRequest, X509BundlesResponse>(async () => () => bundlesMessage(ca)),
    },
  )
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  injector.injectConnection(socket)
  return async () => {
    injector.drain(drainMs)
    await closed(socket, clock)
    injector.destroy()
  }
}

/** Lets the last statuses out: a stream that breaks off instead reads as CANCELLED, after which go-spiffe does not come back. */
async function closed(socket: Duplex, clock: Clock): Promise<void> {
  if (socket.closed) return
  await new Promise<void>((resolve) => {
    const disarm = clock.after(drainMs, () => socket.destroy())
    socket.once('close', () => {
      disarm()
      resolve()
    })
  })
}

/** Exactly `true`, in this spelling: what a redirected browser cannot send (Workload Endpoint §4). */
function isMarked(metadata: Metadata): boolean {
  const values = metadata.get(securityHeader)
  return values.length === 1 && values[0] === 'true'
}

function svidMessage(svid: X509Svid, ca: Ca): X509SVIDResponse {
  const x509SvidKey = svid.privateKey.export({ type: 'pkcs8', format: 'der' })
  const fields = {
    spiffeId: svid.id,
    x509Svid: chainDer(svid.certificates),
    x509SvidKey,
    bundle: chainDer(ca.roots),
  }
  return X509SVIDResponse.fromPartial({ svids: [fields] })
}

function bundlesMessage(ca: Ca): X509BundlesResponse {
  return X509BundlesResponse.fromPartial({ bundles: { [`spiffe://${ca.trustDomain}`]: chainDer(ca.roots) } })
}

interface Method<Req, Res> {
  readonly name: string
  readonly requestType: MessageFns<Req>
  readonly responseType: MessageFns<Res>
}

function definition<Req, Res>(method: Method<Req, Res>): MethodDefinition<Req, Res> {
  const { name, requestType, responseType } = method
  return {
    path: `/${service.fullName}/${name}`,
    requestStream: false,
    responseStream: true,
    requestSerialize: (message) => Buffer.from(requestType.encode(message).finish()),
    requestDeserialize: (bytes) => requestType.decode(bytes),
    responseSerialize: (message) => Buffer.from(responseType.encode(message).finish()),
    responseDeserialize: (bytes) => responseType.decode(bytes),
  }
}

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Server, ServerCredentials, type Metadata, type ServerWritableStream } from '@grpc/grpc-js'
import {
  SpiffeWorkloadAPIDefinition as service,
  type X509BundlesRequest,
  type X509BundlesResponse,
  type X509SVIDRequest,
  X509SVIDResponse,
} from '@nsm/spiffe/gen/workload.js'
import type { X509State } from '@nsm/spiffe/svid.js'
import { chainDer } from '@nsm/spiffe/x509-svid.js'

export type SvidCall = ServerWritableStream<X509SVIDRequest, X509SVIDResponse>
export type BundlesCall = ServerWritableStream<X509BundlesRequest, X509BundlesResponse>

/** A Workload API whose every answer a test decides. */
export interface WorkloadServer {
  /** `unix:///…`. */
  readonly address: string
  /** Metadata of every call, in order. */
  readonly seen: readonly Metadata[]
  stop(): Promise<void>
}

/** Serves on a socket of its own; `stop` removes it. */
export async function workloadServer(answers: {
  svids?: (call: SvidCall) => void
  bundles?: (call: BundlesCall) => void
}): Promise<WorkloadServer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'workload-api-'))
  const address = `unix://${folder}/api.sock`
  const seen: Metadata[] = []
  const server = new Server()
  const { fetchX509SVID, fetchX509Bundles } = service.methods
  server.addService(
    {
      FetchX509SVID: definition('FetchX509SVID', fetchX509SVID),
      FetchX509Bundles: definition('FetchX509Bundles', fetchX509Bundles),
    },
    {
      FetchX509SVID(call: SvidCall) {
        seen.push(call.metadata)
        answers.svids?.(call)
      },
      FetchX509Bundles(call: BundlesCall) {
        seen.push(call.metadata)
        answers.bundles?.(call)
      },
    },
  )
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (err) =>
      err === null ? resolve() : reject(err),
    )
  })
  return {
    address,
    seen,
    async stop() {
      server.forceShutdown()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The message that stands for a state. */
export function messageOf(state: X509State): X509SVIDResponse {
  const [own] = state.svids
  const domainOf = (id: string): string => id.slice('spiffe://'.length).split('/', 1)[0] ?? ''
  const others = [...state.bundles].filter(([domain]) => domain !== domainOf(own.id))
  return X509SVIDResponse.fromPartial({
    svids: state.svids.map((svid) => ({
      spiffeId: svid.id,
      x509Svid: chainDer(svid.certificates),
      x509SvidKey: svid.privateKey.export({ type: 'pkcs8', format: 'der' }),
      bundle: chainDer(state.bundles.get(domainOf(svid.id)) ?? []),
      hint: svid.hint,
    })),
    federatedBundles: Object.fromEntries(
      others.map(([domain, roots]) => [`spiffe://${domain}`, chainDer(roots)]),
    ),
  })
}

interface Codec<T> {
  encode(message: T): { finish(): Uint8Array }
  decode(bytes: Uint8Array): T
}

function definition<Req, Res>(name: string, method: { requestType: Codec<Req>; responseType: Codec<Res> }) {
  return {
    path: `/${service.fullName}/${name}`,
    requestStream: false,
    responseStream: true,
    requestSerialize: (message: Req) => Buffer.from(method.requestType.encode(message).finish()),
    requestDeserialize: (bytes: Buffer) => method.requestType.decode(bytes),
    responseSerialize: (message: Res) => Buffer.from(method.responseType.encode(message).finish()),
    responseDeserialize: (bytes: Buffer) => method.responseType.decode(bytes),
  } as const
}

import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js'
import { backoff } from './backoff.ts'
import { sleep, type Clock } from './clock.ts'
import { SpiffeError, type SpiffeCode } from './errors.ts'
import type { MessageFns } from './gen/workload.ts'

/** Metadata that every call must carry (Workload Endpoint §4); a server refuses calls without it. */
export const securityHeader = 'workload.spiffe.io'

/** Many federated bundles make messages far above gRPC's usual 4 MiB. */
const maxMessageBytes = 64 * 1024 * 1024

const minDelayMs = 200
const maxDelayMs = 30_000

export interface WorkloadStream<Req, Res> {
  /** gRPC target. */
  readonly target: string
  /** As `/SpiffeWorkloadAPI/FetchX509SVID`. */
  readonly path: string
  readonly request: Req
  readonly requestType: MessageFns<Req>
  readonly responseType: MessageFns<Res>
  readonly clock: Clock
  readonly random: () => number
  readonly signal: AbortSignal
  readonly onMessage: (message: Res) => void
  /** Every failed attempt, before it is tried again. */
  readonly onFailure: (err: SpiffeError) => void
}

/**
 * Keeps one stream of the Workload API open until the signal aborts: again at once when one ends that has worked, else with
 * exponential waits (0.2 to 30 s). Never polls.
 * @returns why it stopped: INVALID_ARGUMENT, which no repetition cures (Workload Endpoint §6), or CANCELLED.
 */
export async function followStream<Req, Res>(stream: WorkloadStream<Req, Res>): Promise<SpiffeError> {
  const waits = backoff({ minMs: minDelayMs, maxMs: maxDelayMs, random: stream.random })
  while (!stream.signal.aborted) {
    const startedMs = stream.clock.now()
    const { err, messages } = await once(stream)
    if (stream.signal.aborted) break
    if (err?.code === 'INVALID_ARGUMENT') return err
    if (err !== undefined) stream.onFailure(err)
    const worked = messages > 0 && stream.clock.now() - startedMs >= minDelayMs
    if (worked) waits.reset()
    if (!worked || err?.code === 'PERMISSION_DENIED') await sleep(waits.next(), stream.clock, stream.signal)
  }
  return new SpiffeError('CANCELLED', 'workload api: stopped by the caller', { cause: stream.signal.reason })
}

/** One stream over a connection of its own, to its end: gRPC's own waits for reconnection would add to ours. */
async function once<Req, Res>(
  stream: WorkloadStream<Req, Res>,
): Promise<{ err: SpiffeError | undefined; messages: number }> {
  const client = new Client(stream.target, credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.enable_http_proxy': 0,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
  })
  const metadata = new Metadata()
  metadata.set(securityHeader, 'true')
  const call = client.makeServerStreamRequest(
    stream.path,
    (request: Req) => Buffer.from(stream.requestType.encode(request).finish()),
    (bytes) => stream.responseType.decode(bytes),
    stream.request,
    metadata,
  )
  const cancel = (): void => call.cancel()
  stream.signal.addEventListener('abort', cancel, { once: true })
  let messages = 0
  try {
    const err = await new Promise<SpiffeError | undefined>((resolve) => {
      call.on('data', (message: Res) => {
        messages += 1
        stream.onMessage(message)
      })
      call.on('error', (failure: ServiceError) => resolve(asSpiffeError(failure)))
      call.on('end', () => resolve(undefined))
    })
    return { err, messages }
  } finally {
    stream.signal.removeEventListener('abort', cancel)
    client.close()
  }
}

const spiffeCodes = new Map<number, SpiffeCode>([
  [status.CANCELLED, 'CANCELLED'],
  [status.INVALID_ARGUMENT, 'INVALID_ARGUMENT'],
  [status.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED'],
  [status.NOT_FOUND, 'NOT_FOUND'],
  [status.PERMISSION_DENIED, 'PERMISSION_DENIED'],
  [status.RESOURCE_EXHAUSTED, 'RESOURCE_EXHAUSTED'],
  [status.FAILED_PRECONDITION, 'FAILED_PRECONDITION'],
  [status.UNAUTHENTICATED, 'UNAUTHENTICATED'],
])

function asSpiffeError(err: ServiceError): SpiffeError {
  const code = spiffeCodes.get(err.code) ?? 'UNAVAILABLE'
  return new SpiffeError(code, `workload api: ${err.details}`, { cause: err })
}

import { backoff } from './backoff.ts'
import { sleep, type Clock } from './clock.ts'
import { reasonOf, SpiffeError } from './errors.ts'
import type { MessageFns } from './gen/workload.ts'
import { serverStream } from './workload-call.ts'

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

async function once<Req, Res>(
  stream: WorkloadStream<Req, Res>,
): Promise<{ err: SpiffeError | undefined; messages: number }> {
  let messages = 0
  const err = await serverStream({
    target: stream.target,
    path: stream.path,
    headers: { [securityHeader]: 'true' },
    message: stream.requestType.encode(stream.request).finish(),
    maxMessageBytes,
    signal: stream.signal,
    onMessage(bytes) {
      const message = decodedBy(stream, bytes)
      if (message === undefined) return
      messages += 1
      stream.onMessage(message)
    },
  })
  return { err, messages }
}

function decodedBy<Req, Res>(stream: WorkloadStream<Req, Res>, bytes: Buffer): Res | undefined {
  try {
    return stream.responseType.decode(bytes)
  } catch (cause) {
    const message = `workload api: message discarded: ${reasonOf(cause)}`
    stream.onFailure(new SpiffeError('INVALID_ARGUMENT', message, { cause }))
    return undefined
  }
}

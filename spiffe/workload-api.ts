import { machineClock, type Clock } from './clock.ts'
import { endpointTarget, endpointVariable } from './endpoint-address.ts'
import { reasonOf, SpiffeError } from './errors.ts'
import { SpiffeWorkloadAPIDefinition as service, type MessageFns } from './gen/workload.ts'
import type { X509Bundles, X509Source, X509State } from './svid.ts'
import { bundlesOfMessage, stateOfMessage } from './workload-state.ts'
import { followStream } from './workload-stream.ts'

export interface WorkloadApiOptions {
  /** `unix:///path` or `tcp://IP:port`; default: environment variable SPIFFE_ENDPOINT_SOCKET. */
  readonly address?: string
  /** Ends the waiting for the first state, and the source afterwards. */
  readonly signal?: AbortSignal
  /** Hears of what is tried again or discarded: failed attempts, malformed messages, listeners that throw. */
  readonly onProblem?: (err: SpiffeError) => void
  readonly clock?: Clock
  /** In [0, 1), for the waits between attempts. */
  readonly random?: () => number
}

export interface X509SourceOptions extends WorkloadApiOptions {
  /** The SVID with this hint is the default one; messages without it are discarded. */
  readonly hint?: string
}

/** Roots of all trust domains, with their changes: enough for a program that only verifies. */
export interface X509BundleSource {
  readonly current: X509Bundles
  /** Calls on every change; the answer stops it. */
  onChange(listener: (bundles: X509Bundles) => void): () => void
  close(): void
}

/**
 * Identity from the Workload API, kept fresh over an open stream. Resolves with the first SVID and keeps trying until then.
 * When the server takes the identity back (PERMISSION_DENIED), `current` throws that until there is one again.
 * @throws SpiffeError INVALID_ARGUMENT (address, or the server refuses the call as such) or CANCELLED (`signal`).
 */
export async function x509Source(options: X509SourceOptions = {}): Promise<X509Source> {
  const { requestType, responseType } = service.methods.fetchX509SVID
  const parse = (message: ReturnType<typeof responseType.decode>): X509State =>
    stateOfMessage(message, options.hint)
  return sourceOf({ method: 'FetchX509SVID', requestType, responseType, parse }, options)
}

/** Bundles alone from the Workload API; see `x509Source`. */
export async function x509BundleSource(options: WorkloadApiOptions = {}): Promise<X509BundleSource> {
  const { requestType, responseType } = service.methods.fetchX509Bundles
  return sourceOf({ method: 'FetchX509Bundles', requestType, responseType, parse: bundlesOfMessage }, options)
}

interface Fetch<Req, Res, State> {
  readonly method: string
  readonly requestType: MessageFns<Req>
  readonly responseType: MessageFns<Res>
  readonly parse: (message: Res) => State
}

interface Source<State> {
  readonly current: State
  onChange(listener: (state: State) => void): () => void
  close(): void
}

async function sourceOf<Req, Res, State>(
  fetch: Fetch<Req, Res, State>,
  options: WorkloadApiOptions,
): Promise<Source<State>> {
  const target = endpointTarget(options.address ?? process.env[endpointVariable] ?? '')
  const holder = stateHolder<State>(options.onProblem ?? (() => undefined))
  const stop = new AbortController()
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, options.signal])
  const ended = followStream({
    target,
    path: `/${service.fullName}/${fetch.method}`,
    request: fetch.requestType.decode(new Uint8Array()),
    requestType: fetch.requestType,
    responseType: fetch.responseType,
    clock: options.clock ?? machineClock,
    random: options.random ?? Math.random,
    signal,
    onMessage: (message) => holder.update(() => fetch.parse(message)),
    onFailure: (err) => holder.failed(err),
  })
  const first = await Promise.race([holder.first, ended])
  if (first instanceof SpiffeError) throw first
  void ended.then((why) => (why.code === 'CANCELLED' ? undefined : holder.failed(why)))
  return holder.source(() => stop.abort())
}

interface StateHolder<State> {
  readonly first: Promise<void>
  /** Takes a new state, unless reading it fails: then the old one stays. */
  update(read: () => State): void
  failed(err: SpiffeError): void
  source(close: () => void): Source<State>
}

function stateHolder<State>(onProblem: (err: SpiffeError) => void): StateHolder<State> {
  const listeners = new Set<(state: State) => void>()
  let state: { readonly value: State } | undefined
  let withdrawn: SpiffeError | undefined
  let arrived: () => void
  const first = new Promise<void>((resolve) => (arrived = resolve))

  const attempt = (what: string, run: () => void): void => {
    try {
      run()
    } catch (err) {
      onProblem(
        new SpiffeError('INVALID_ARGUMENT', `workload api: ${what}: ${reasonOf(err)}`, { cause: err }),
      )
    }
  }

  return {
    first,
    update(read) {
      attempt('message discarded', () => {
        const value = read()
        state = { value }
        withdrawn = undefined
        arrived()
        for (const listener of listeners) attempt('listener failed', () => listener(value))
      })
    },
    failed(err) {
      if (err.code === 'PERMISSION_DENIED') withdrawn = err
      onProblem(err)
    },
    source: (close) => ({
      close,
      get current() {
        if (withdrawn !== undefined) throw withdrawn
        if (state === undefined) throw new SpiffeError('UNAVAILABLE', 'workload api has not answered yet')
        return state.value
      },
      onChange(listener) {
        listeners.add(listener)
        return () => listeners.delete(listener)
      },
    }),
  }
}

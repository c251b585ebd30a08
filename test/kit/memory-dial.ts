import { Connection, ConnectionEvent, MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import type { ConnectionMonitor, NetworkService } from '@nsm/sdk/chain.js'
import { background, withCancel, withValue, type Ctx } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Peer } from '@nsm/sdk/peer.js'
import { registryChain } from '@nsm/sdk/registry-chain.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { incomingCall, newCall, tokenExpiresHeader, tokenHeader } from '@nsm/sdk/transport/call.js'
import type { Dial, Remote } from '@nsm/sdk/transport/remote.js'
import type { X509Svid } from '@nsm/spiffe/svid.js'

/** What one process serves in a network that exists in memory only. */
export interface Listener {
  readonly svid: X509Svid
  readonly service: NetworkService
  readonly monitor: ConnectionMonitor
}

export interface MemoryNetwork {
  /** Serves at `url` until the answer is called: that is the process' death, and ends all its calls and streams. */
  listen(url: string, listener: Listener): () => void
  /** How a process with this identity reaches the others. */
  dial(svid: X509Svid, tokens: TokenGenerator): Dial
  /** Sessions that were dialled and not released. */
  readonly sessions: number
}

/** Carries messages as bytes, errors as statuses, and both ends' identities, as gRPC over mutual TLS does. */
export function memoryNetwork(): MemoryNetwork {
  const listeners = new Map<string, { listener: Listener; alive: AbortController }>()
  let sessions = 0

  return {
    get sessions() {
      return sessions
    },

    listen(url, listener) {
      const alive = new AbortController()
      listeners.set(url, { listener, alive })
      return () => {
        listeners.delete(url)
        alive.abort(new NsmError('UNAVAILABLE', `${url} is gone`))
      }
    },

    dial: (svid, tokens) => async (ctx, url) => {
      if (ctx.signal.aborted) throw NsmError.from(ctx.signal.reason)
      const found = listeners.get(url)
      if (found === undefined) throw new NsmError('UNAVAILABLE', `nobody listens at ${url}`)
      sessions++
      let held = true
      const release = (): void => {
        if (held) sessions--
        held = false
      }
      return { ...remoteTo({ url, svid, tokens, ...found }), release }
    },
  }
}

interface Session {
  readonly url: string
  readonly svid: X509Svid
  readonly tokens: TokenGenerator
  readonly listener: Listener
  readonly alive: AbortController
}

function remoteTo(session: Session): Omit<Remote, 'release'> {
  const { url, listener, alive, svid } = session
  const { service, monitor } = listener
  const peer = peerOf(listener.svid, svid)
  return {
    url,
    peer,
    closed: alive.signal,
    request: (ctx, req) =>
      overWire(session, ctx, async (served) => {
        const sent = NetworkServiceRequest.decode(NetworkServiceRequest.encode(req).finish())
        return Connection.decode(Connection.encode(await service.request(served, sent)).finish())
      }),
    close: (ctx, conn) =>
      overWire(session, ctx, (served) =>
        service.close(served, Connection.decode(Connection.encode(conn).finish())),
      ),
    async *monitor(ctx, selector) {
      const sent = MonitorScopeSelector.decode(MonitorScopeSelector.encode(selector).finish())
      const stream = new AbortController()
      const end = (): void => stream.abort(ctx.signal.aborted ? ctx.signal.reason : alive.signal.reason)
      const sources = [ctx.signal, alive.signal]
      for (const source of sources) source.addEventListener('abort', end)
      if (sources.some(({ aborted }) => aborted)) end()
      const { signal } = stream
      try {
        for await (const event of monitor.monitor(servedCtx(session, { ...ctx, signal }), sent)) {
          yield ConnectionEvent.decode(ConnectionEvent.encode(event).finish())
        }
        if (signal.aborted) throw NsmError.from(signal.reason)
      } finally {
        for (const source of sources) source.removeEventListener('abort', end)
      }
    },
    networkServices: registryChain([]),
    networkServiceEndpoints: registryChain([]),
  }
}

/** The other end sees nothing of the caller's context but deadline, signal, headers and identity; errors come back as new ones. */
async function overWire<T>(session: Session, ctx: Ctx, call: (served: Ctx) => Promise<T>): Promise<T> {
  return withCancel(ctx, async (inner, cancel) => {
    const die = (): void => cancel(session.alive.signal.reason)
    session.alive.signal.addEventListener('abort', die)
    const gone = new Promise<never>((_, reject) => {
      const fail = (): void => reject(statusOf(inner.signal.reason))
      if (inner.signal.aborted) fail()
      inner.signal.addEventListener('abort', fail, { once: true })
    })
    try {
      if (session.alive.signal.aborted) die()
      return await Promise.race([gone, call(servedCtx(session, inner))])
    } catch (err) {
      throw statusOf(err)
    } finally {
      session.alive.signal.removeEventListener('abort', die)
    }
  })
}

function servedCtx({ listener, svid, tokens }: Session, ctx: Ctx): Ctx {
  const call = newCall()
  const { token, expires } = tokens(peerOf(listener.svid, svid))
  if (token !== '') {
    call.requestHeaders.set(tokenHeader, token)
    call.requestHeaders.set(tokenExpiresHeader, expires.toISOString())
  }
  const fresh = background({ log: ctx.log, clock: ctx.clock, signal: ctx.signal })
  const served: Ctx = { ...fresh, deadlineMs: ctx.deadlineMs, peer: peerOf(svid, listener.svid) }
  return withValue(served, incomingCall, call)
}

function peerOf(other: X509Svid, localSvid: X509Svid): Peer {
  return { spiffeId: other.id, certificate: other.certificates[0], localSvid, descriptors: undefined }
}

function statusOf(reason: unknown): NsmError {
  const { code, message } = NsmError.from(reason)
  return new NsmError(code, message)
}

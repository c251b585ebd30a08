import { status, type ServerWritableStream } from '@grpc/grpc-js'
import type { Clock } from '../clock.ts'
import { reasonOf, SpiffeError } from '../errors.ts'
import type { Ca } from './ca.ts'
import type { Caller } from './caller.ts'

/** Who a caller is: its SPIFFE ID, or undefined for somebody unknown. Asked again before each renewal. */
export type Attest = (caller: Caller) => Promise<string | undefined>

/** One open stream of a workload. */
export interface Subscription<Req, Res> {
  readonly call: ServerWritableStream<Req, Res>
  readonly caller: () => Promise<Caller>
  /** Makes what the identity needs, once for each half of an SVID's life; the answer makes a message of it and the roots of now. */
  readonly renew: (id: string) => Promise<() => Res>
}

export interface Subscribers {
  /** Serves one stream until it ends: attests, pushes, renews. */
  serve<Req, Res>(subscription: Subscription<Req, Res>): void
  /** Ends the streams of this ID with PERMISSION_DENIED: what it holds is not renewed. */
  revoke(id: string): void
  /** Ends every stream with UNAVAILABLE. */
  close(): void
}

export interface SubscribersOptions {
  readonly ca: Ca
  readonly attest: Attest
  readonly clock: Clock
  readonly onProblem: (err: SpiffeError) => void
}

interface Stream {
  id: string | undefined
  /** Sends the newest state; `renew` with a new SVID. */
  push(renew: boolean): Promise<void>
  end(err: SpiffeError): void
}

/** All open streams of an authority. */
export function subscribers(options: SubscribersOptions): Subscribers {
  const streams = new Set<Stream>()
  const stopWatching = options.ca.onChange((lost) => {
    for (const stream of streams) void stream.push(lost)
  })
  return {
    serve(subscription) {
      const stream = openStream(subscription, options, () => streams.delete(stream))
      streams.add(stream)
      void stream.push(true)
    },
    revoke(id) {
      for (const stream of streams) if (stream.id === id) stream.end(denied())
    },
    close() {
      stopWatching()
      for (const stream of streams) stream.end(new SpiffeError('UNAVAILABLE', 'authority is stopping'))
    },
  }
}

function openStream<Req, Res>(
  { call, caller, renew: renewal }: Subscription<Req, Res>,
  { ca, attest, clock, onProblem }: SubscribersOptions,
  onEnd: () => void,
): Stream {
  let disarm: (() => void) | undefined
  let held: (() => Res) | undefined
  let open = true
  let busy: Promise<void> = Promise.resolve()

  const end = (err: SpiffeError): void => {
    if (!open) return
    gone()
    call.emit('error', { code: statusOf(err), details: err.message })
  }
  const gone = (): void => {
    open = false
    disarm?.()
    onEnd()
  }
  const renewed = async (): Promise<() => Res> => {
    const id = await attest(await caller())
    if (id === undefined) throw denied()
    stream.id = id
    const made = await renewal(id)
    disarm?.()
    if (open) disarm = clock.after(ca.svidLifeMs / 2, () => void stream.push(true))
    return made
  }
  const send = async (renew: boolean): Promise<void> => {
    if (!open) return
    try {
      if (renew || held === undefined) held = await renewed()
      if (open) call.write(held())
    } catch (reason) {
      const err =
        reason instanceof SpiffeError
          ? reason
          : new SpiffeError('UNAVAILABLE', `attestation: ${reasonOf(reason)}`)
      if (err.code !== 'PERMISSION_DENIED') onProblem(err)
      end(err)
    }
  }
  const stream: Stream = {
    id: undefined,
    end,
    push(renew) {
      busy = busy.then(async () => send(renew))
      return busy
    },
  }
  call.on('cancelled', gone)
  call.on('close', gone)
  return stream
}

/** What went wrong here is not the caller's fault: it may come again. */
function statusOf(err: SpiffeError): number {
  return err.code === 'PERMISSION_DENIED' ? status.PERMISSION_DENIED : status.UNAVAILABLE
}

function denied(): SpiffeError {
  return new SpiffeError('PERMISSION_DENIED', 'no identity issued')
}

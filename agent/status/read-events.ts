import { get } from 'node:http'
import { NsmError } from '@nsm/sdk/errors.js'

/** Where a sidecar tells its status. */
export interface StatusAddress {
  readonly ip: string
  readonly port: number
}

export interface EventListener {
  /** The stream is open. */
  readonly opened: () => void
  /** One event, whole. */
  readonly event: (name: string, data: string) => void
}

const connectMs = 5_000
/** Three of the comments by which a silent sidecar shows that it is there. */
const silenceMs = 45_000
const maxEventBytes = 1_048_576

/**
 * Reads the Server-Sent Events of a sidecar until it ends them. Rejects with UNAVAILABLE when it cannot be reached, refuses, breaks off or falls silent,
 * and with the signal's reason.
 */
export async function readEvents(
  { ip, port }: StatusAddress,
  listener: EventListener,
  signal: AbortSignal,
): Promise<void> {
  const failed = (why: string): NsmError => new NsmError('UNAVAILABLE', why)
  await new Promise<void>((resolve, reject) => {
    const headers = { accept: 'text/event-stream' }
    const request = get({ host: ip, port, path: '/events', headers, signal, agent: false }, (response) => {
      request.setTimeout(silenceMs)
      const { statusCode = 0, headers: answered } = response
      if (statusCode !== 200 || answered['content-type']?.startsWith('text/event-stream') !== true) {
        request.destroy(failed(`answers ${statusCode} instead of its events`))
        return
      }
      listener.opened()
      const parse = eventParser(listener.event)
      response.setEncoding('utf8')
      response.on('data', (text: string) => {
        if (!parse(text)) request.destroy(failed(`sends events of more than ${maxEventBytes} bytes`))
      })
      response.on('end', resolve)
      response.on('error', reject)
    })
    request.setTimeout(connectMs)
    request.on('timeout', () => request.destroy(failed('does not answer')))
    request.on('error', reject)
  }).catch((reason: unknown) => {
    if (signal.aborted) throw NsmError.from(signal.reason)
    if (reason instanceof NsmError) throw reason
    throw new NsmError('UNAVAILABLE', reason instanceof Error ? reason.message : String(reason), {
      cause: reason,
    })
  })
}

/** Takes the text of a stream in pieces; false = an event is too long. */
function eventParser(tell: EventListener['event']): (text: string) => boolean {
  let rest = ''
  return (text) => {
    rest += text
    for (;;) {
      const end = rest.indexOf('\n\n')
      if (end === -1) return rest.length <= maxEventBytes
      const lines = rest.slice(0, end).split('\n')
      rest = rest.slice(end + 2)
      const valueOf = (field: string): string | undefined =>
        lines.find((line) => line.startsWith(`${field}: `))?.slice(field.length + 2)
      const data = valueOf('data')
      if (data !== undefined) tell(valueOf('event') ?? 'message', data)
    }
  }
}

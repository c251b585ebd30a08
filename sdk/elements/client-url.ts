import type { Element } from '../chain.ts'
import { key, withValue, type Key } from '../ctx.ts'

/** URL of the next hop, `unix:///path` or `tcp://host:port`; left by whoever chose it, read by `dial`. */
export const clientUrl: Key<string> = key('client url')

/** Looks the URL up that a Close is to go to; asked by `dial` only when the session of the last Request is gone. Never rejects. */
export const closeUrl: Key<() => Promise<string | undefined>> = key('client url of a close')

/** Sends every call of the chain to one URL. */
export function toUrl(url: string): Element {
  return {
    name: 'clienturl',
    request: (ctx, req, next) => next.request(withValue(ctx, clientUrl, url), req),
    close: (ctx, conn, next) => next.close(withValue(ctx, clientUrl, url), conn),
  }
}

import { NsmError } from '../errors.ts'

/** Where a URL leads to. An empty `host` means every address of this machine. */
export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }

/** Reads `unix:///path`, `unix:/path`, `tcp://host:port`, `tcp://[::1]:port` or `tcp://:port`. @throws NsmError INVALID_ARGUMENT. */
export function parseAddress(url: string): Address {
  const path = /^unix:(?:\/\/)?(\/[^/\0][^\0]*)$/.exec(url)?.[1]
  if (path !== undefined) return { kind: 'unix', path }
  const tcp = /^tcp:(?:\/\/)?(\[[0-9a-fA-F:.%]+\]|[^\s/:@?#]*):(\d{1,5})\/?$/.exec(url)
  const port = Number(tcp?.[2])
  if (tcp?.[1] === undefined || !(port <= 65_535)) {
    throw new NsmError('INVALID_ARGUMENT', `url is ${url}, not unix:///path or tcp://host:port`)
  }
  return { kind: 'tcp', host: tcp[1].replace(/^\[|\]$/g, ''), port }
}

import { networkInterfaces } from 'node:os'

/**
 * The URL under which other nodes reach a process that listens on these: the first `tcp://` one, with an address of this machine
 * where it has no host (wire contract §5.4); without any, the first one.
 */
export function publicUrl(listenOn: readonly string[]): string {
  const tcp = listenOn.find((url) => url.startsWith('tcp://'))
  if (tcp === undefined) return listenOn[0] ?? ''
  const { host, port } = /^tcp:\/\/(?<host>.*):(?<port>\d+)$/.exec(tcp)?.groups ?? {}
  if (host !== '' && host !== '0.0.0.0' && host !== '[::]') return tcp
  const address = ownAddress()
  return address === undefined ? tcp : `tcp://${address}:${port}`
}

/** The first address that others can reach, as it stands in a URL. */
function ownAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const found = all.find(({ internal, address }) => !internal && !address.startsWith('fe80:'))
  return found?.family === 'IPv6' ? `[${found.address}]` : found?.address
}

import { isIP } from 'node:net'
import { SpiffeError } from './errors.ts'

/** Environment variable that names the Workload API's socket (Workload Endpoint §4). */
export const endpointVariable = 'SPIFFE_ENDPOINT_SOCKET'

/**
 * Turns `unix:///path` or `tcp://IP:port` into a gRPC target.
 * @throws SpiffeError INVALID_ARGUMENT naming the rule of the Workload Endpoint specification §4 that is broken.
 */
export function endpointTarget(address: string): string {
  if (address === '') throw invalid('is empty')
  const match = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(address)
  if (match === null) throw invalid(`${JSON.stringify(address)} is no URI with a scheme`)
  const [, scheme = '', rest = ''] = match
  if (scheme !== 'unix' && scheme !== 'tcp') throw invalid(`has the scheme ${scheme}, not unix or tcp`)
  const { authority, path } = split(scheme, rest)
  return scheme === 'unix' ? unixTarget(authority, path) : tcpTarget(authority, path)
}

function split(scheme: string, rest: string): { authority: string; path: string } {
  if (rest.includes('#')) throw invalid(`of scheme ${scheme} must not have a fragment`)
  if (rest.includes('?')) throw invalid(`of scheme ${scheme} must not have a query`)
  if (!rest.startsWith('/')) throw invalid(`of scheme ${scheme} must not be opaque, write ${scheme}://…`)
  if (!rest.startsWith('//')) return { authority: '', path: rest }
  const slash = rest.indexOf('/', 2)
  const end = slash === -1 ? rest.length : slash
  const authority = rest.slice(2, end)
  if (authority.includes('@')) throw invalid(`of scheme ${scheme} must not have user info`)
  return { authority, path: rest.slice(end) }
}

function unixTarget(authority: string, path: string): string {
  if (authority !== '') throw invalid('of scheme unix must not have an authority, write unix:///path')
  if (path === '' || path === '/') throw invalid('of scheme unix must have a path')
  if (/%|\0/.test(path)) throw invalid('of scheme unix must have a plain path, without escapes')
  return `unix:${path}`
}

function tcpTarget(authority: string, path: string): string {
  if (authority === '') throw invalid('of scheme tcp must have an IP address')
  if (path !== '') throw invalid('of scheme tcp must not have a path')
  const { host, port } = hostAndPort(authority)
  const family = isIP(host.replace(/^\[(.*:.*)\]$/, '$1'))
  if (family === 0 || host.startsWith('[') !== (family === 6)) {
    throw invalid('of scheme tcp must have an IP address, not a host name')
  }
  if (port < 1 || port > 65_535) throw invalid('of scheme tcp must have a port')
  return `ipv${family}:${host}:${port}`
}

/** A missing port is 0. */
function hostAndPort(authority: string): { host: string; port: number } {
  const match = /^(.*):(\d{1,5})$/.exec(authority)
  const [, host = authority, port = '0'] = match ?? []
  return { host, port: Number(port) }
}

function invalid(what: string): SpiffeError {
  return new SpiffeError('INVALID_ARGUMENT', `workload endpoint socket ${what}`)
}

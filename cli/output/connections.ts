import { isObject } from '../manifest/shape.ts'
import type { PodConnections } from '../mesh/connections.ts'
import { age } from './age.ts'
import { table } from './table.ts'

type Fields = Readonly<Record<string, unknown>>

/** Which columns a table of connections has besides the usual ones. */
export interface Columns {
  /** Default: true. */
  readonly namespace?: boolean
  /** Node, mechanism, MTU and repairs; default: false. */
  readonly wide?: boolean
}

const usual = ['SERVICE', 'STATE', 'SINCE', 'INTERFACE', 'ADDRESS', 'PEER', 'ENDPOINT']

/** One row per connection; pods whose sidecar can't be asked show why, and what they asked for if that is known. */
export function connectionsTable(
  pods: readonly PodConnections[],
  nowMs: number,
  { namespace = true, wide = false }: Columns = {},
): string {
  const head = ['POD', ...usual, ...(wide ? ['MECHANISM', 'MTU', 'HEALS', 'NODE'] : []), 'MESSAGE']
  const rows = pods.flatMap((pod) => {
    const wanted = rowsOf(pod, nowMs, wide)
    return wanted.map((row) => (namespace ? [pod.namespace, ...row] : row))
  })
  return table(namespace ? ['NAMESPACE', ...head] : head, rows)
}

/** Each connection's path, hop by hop, with how long each hop took for the last Request, and who it is. */
export function pathsText(pods: readonly PodConnections[]): string {
  return pods
    .flatMap(({ status }) => connectionsIn(status))
    .filter((connection) => objectsIn(connection['path']).length > 0)
    .map((connection) => `\nPath of ${word(connection['id'])}:\n${hopsTable(connection, '  ')}`)
    .join('')
}

/** The hops of one connection, in their order. */
export function hopsTable(connection: Fields, indent = ''): string {
  const hops = objectsIn(connection['path']).map((hop) => [
    indent + word(hop['name']),
    milliseconds(hop['ms']),
    word(hop['spiffeId']),
  ])
  return table([`${indent}HOP`, 'TIME', 'SPIFFE ID'], hops)
}

/** Connections of a sidecar's status answer; none when it isn't one. */
export function connectionsIn(status: unknown): readonly Fields[] {
  return objectsIn(isObject(status) ? status['connections'] : undefined)
}

function rowsOf(about: PodConnections, nowMs: number, wide: boolean): readonly (readonly string[])[] {
  const { pod, node, status, error, wanted = [] } = about
  const found = connectionsIn(status)
  const more = (connection?: Fields): readonly string[] =>
    wide ? [...wideCells(connection), node || '-'] : []
  if (found.length > 0) return found.map((one) => [pod, ...cellsOf(one, nowMs), ...more(one), messageOf(one)])
  const message = status === undefined ? error : error || 'no connections yet'
  if (wanted.length === 0) return [[pod, ...usual.map(() => '-'), ...more(), message]]
  return wanted.map((one) => [
    pod,
    one.networkService,
    one.state,
    '-',
    one.interface || '-',
    '-',
    '-',
    '-',
    ...more(),
    message,
  ])
}

function cellsOf(connection: Fields, nowMs: number): readonly string[] {
  const since = Date.parse(word(connection['since']))
  return [
    word(connection['networkService']),
    word(connection['state']),
    Number.isNaN(since) ? '-' : age(nowMs - since),
    word(connection['interface']),
    words(connection['addresses']),
    words(connection['endpointAddresses']),
    word(connection['endpoint']),
  ]
}

function wideCells(connection: Fields = {}): readonly string[] {
  const { mtu, heals } = connection
  const count = isObject(heals) ? heals['count'] : undefined
  return [
    word(connection['mechanism']),
    typeof mtu === 'number' ? String(mtu) : '-',
    typeof count === 'number' ? String(count) : '-',
  ]
}

/** Why it isn't up. */
function messageOf(connection: Fields): string {
  return connection['state'] === 'UP' ? '' : `${word(connection['reason'])}: ${word(connection['message'])}`
}

function objectsIn(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}

function word(value: unknown): string {
  return typeof value === 'string' && value !== '' ? value : '-'
}

function milliseconds(value: unknown): string {
  return typeof value === 'number' ? `${value.toFixed(1)} ms` : '-'
}

function words(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.map((item) => word(item)).join(',') : '-'
}

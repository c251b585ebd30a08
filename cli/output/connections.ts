import { isObject } from '../manifest/shape.ts'
import type { PodConnections } from '../mesh/connections.ts'
import { age } from './age.ts'
import { table } from './table.ts'

type Fields = Readonly<Record<string, unknown>>

const head = [
  'NAMESPACE',
  'POD',
  'SERVICE',
  'STATE',
  'SINCE',
  'INTERFACE',
  'ADDRESS',
  'PEER',
  'ENDPOINT',
  'MESSAGE',
]

/** One row per connection; pods whose sidecar can't be asked show why. */
export function connectionsTable(pods: readonly PodConnections[], nowMs: number): string {
  return table(
    head,
    pods.flatMap((pod) => rowsOf(pod, nowMs)),
  )
}

/** Each connection's path, hop by hop, with how long each hop took for the last Request, and who it is. */
export function pathsText(pods: readonly PodConnections[]): string {
  return pods
    .flatMap(({ status }) => connectionsIn(status))
    .filter((connection) => objectsIn(connection['path']).length > 0)
    .map((connection) => {
      const hops = objectsIn(connection['path']).map((hop) => [
        `  ${word(hop['name'])}`,
        milliseconds(hop['ms']),
        word(hop['spiffeId']),
      ])
      return `\nPath of ${word(connection['id'])}:\n${table(['  HOP', 'TIME', 'SPIFFE ID'], hops)}`
    })
    .join('')
}

/** Connections of a sidecar's status answer; none when it isn't one. */
export function connectionsIn(status: unknown): readonly Fields[] {
  return objectsIn(isObject(status) ? status['connections'] : undefined)
}

function rowsOf(
  { namespace, pod, status, error }: PodConnections,
  nowMs: number,
): readonly (readonly string[])[] {
  const empty = ['-', '-', '-', '-', '-', '-', '-']
  if (error !== '') return [[namespace, pod, ...empty, error]]
  const found = connectionsIn(status)
  if (found.length === 0) return [[namespace, pod, ...empty, 'no connections yet']]
  return found.map((connection) => [namespace, pod, ...cellsOf(connection, nowMs)])
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
    connection['state'] === 'UP' ? '' : `${word(connection['reason'])}: ${word(connection['message'])}`,
  ]
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

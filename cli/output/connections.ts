import { isObject } from '../manifest/shape.ts'
import type { PodConnections } from '../mesh/connections.ts'
import { table } from './table.ts'

const head = [
  'NAMESPACE',
  'POD',
  'CONNECTION',
  'SERVICE',
  'STATE',
  'INTERFACE',
  'ADDRESS',
  'PEER',
  'ENDPOINT',
  'PATH',
]

/** One row per connection; pods whose sidecar can't be asked show why. */
export function connectionsTable(pods: readonly PodConnections[]): string {
  return table(
    head,
    pods.flatMap((pod) => rowsOf(pod)),
  )
}

/** Connections of a sidecar's status answer; none when it isn't one. */
export function connectionsIn(status: unknown): readonly Readonly<Record<string, unknown>>[] {
  const list = isObject(status) ? status['connections'] : undefined
  return Array.isArray(list) ? list.filter(isObject) : []
}

function rowsOf({ namespace, pod, status, error }: PodConnections): readonly (readonly string[])[] {
  if (error !== '') return [[namespace, pod, '-', '-', error]]
  const found = connectionsIn(status)
  if (found.length === 0) return [[namespace, pod, '-', '-', 'no connections yet']]
  return found.map((connection) => [namespace, pod, ...cellsOf(connection)])
}

function cellsOf(connection: Readonly<Record<string, unknown>>): readonly string[] {
  const path = Array.isArray(connection['path']) ? connection['path'].filter(isObject) : []
  return [
    word(connection['id']),
    word(connection['networkService']),
    stateOf(connection),
    word(connection['interface']),
    words(connection['addresses']),
    words(connection['endpointAddresses']),
    word(connection['endpoint']),
    path.map((hop) => word(hop['name'])).join(' → ') || '-',
  ]
}

/** The state, and in brackets why it isn't up. */
function stateOf(connection: Readonly<Record<string, unknown>>): string {
  const state = word(connection['state'])
  const message = connection['message']
  return state === 'UP' || typeof message !== 'string' || message === '' ? state : `${state} (${message})`
}

function word(value: unknown): string {
  return typeof value === 'string' && value !== '' ? value : '-'
}

function words(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.map((item) => word(item)).join(',') : '-'
}

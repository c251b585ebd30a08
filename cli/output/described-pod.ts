import { containersOf, restartsOf, waitsFor, type InjectedPod } from '../cluster/pods.ts'
import { at, listAt, numberAt, textAt, textsAt, timeAt } from '../cluster/fields.ts'
import type { EventLine } from '../cluster/events.ts'
import type { PodConnections } from '../mesh/connections.ts'
import { age } from './age.ts'
import { connectionsIn, hopsTable } from './connections.ts'
import { indented, labelText, lines, when } from './described.ts'
import { table } from './table.ts'

/** All that is known of a pod and its connections. */
export function podText(pod: InjectedPod, answer: PodConnections, nowMs: number): string {
  const { status } = answer
  const found = connectionsIn(status)
  const about = lines([
    ['Pod', `${pod.namespace}/${pod.name}`],
    ['Node', pod.node],
    ['State', [pod.phase, waitsFor(pod.object)].filter((word) => word !== '').join(', ')],
    ['Asks for', pod.services],
    ['Sidecar', sidecarText(pod)],
    ['Identity', textAt(status, 'spiffeId')],
    ['Names', dnsText(status)],
    ['Not known', answer.error],
  ])
  return about + found.map((connection) => connectionText(connection, nowMs)).join('')
}

/** Events as kubectl shows them. */
export function eventsText(events: readonly EventLine[], nowMs: number): string {
  if (events.length === 0) return '\nEvents: none\n'
  const rows = events.map(({ lastMs, type, reason, from, message, count }) => [
    `${age(nowMs - lastMs)}${count > 1 ? ` (x${count})` : ''}`,
    type,
    reason,
    from,
    message,
  ])
  return `\nEvents:\n${indented(table(['AGE', 'TYPE', 'REASON', 'FROM', 'MESSAGE'], rows), '  ')}`
}

function sidecarText({ object, container, image }: InjectedPod): string {
  const isNative = listAt(object, 'spec', 'initContainers').some((one) => textAt(one, 'name') === container)
  const others = containersOf(object).length - 1
  const restarts = restartsOf(object)
  return `${container}, ${image}${isNative ? '' : ', an ordinary container'}; beside ${others} of the pod's own${restarts === 0 ? '' : `; ${restarts} restarts in the pod`}`
}

function dnsText(status: unknown): string {
  const mode = textAt(status, 'dns', 'mode')
  return mode === '' ? '' : `${mode}, ${textAt(status, 'dns', 'state')}: ${textAt(status, 'dns', 'message')}`
}

function connectionText(connection: Readonly<Record<string, unknown>>, nowMs: number): string {
  const hops = listAt(connection, 'path')
  const labels = textsAt(connection, 'labels')
  const service = textAt(connection, 'networkService')
  const rows = lines(
    [
      [
        'Network service',
        Object.keys(labels).length === 0 ? service : `${service} with ${labelText(labels)}`,
      ],
      ['State', stateText(connection, nowMs)],
      ['Reason', `${textAt(connection, 'reason')}: ${textAt(connection, 'message')}`],
      ['Interface', interfaceText(connection)],
      ['Addresses', listAt(connection, 'addresses').join(', ')],
      ['Peer', listAt(connection, 'endpointAddresses').join(', ')],
      ['Routes', listAt(connection, 'routes').map(routeText).join(', ')],
      ['DNS', listAt(connection, 'dns').map(namesOf).join('; ')],
      ['Endpoint', textAt(connection, 'endpoint')],
      ['Expires', when(timeAt(connection, 'expires'), nowMs)],
      ['Requests', requestsText(connection)],
      ['Repairs', repairsText(connection, nowMs)],
    ],
    '  ',
  )
  const path = hops.length === 0 ? '' : `  Path:\n${indented(hopsTable(connection), '    ')}`
  return `\nConnection ${textAt(connection, 'id')}:\n${rows}${path}`
}

function stateText(connection: unknown, nowMs: number): string {
  const since = timeAt(connection, 'since')
  return `${textAt(connection, 'state')}${since === undefined ? '' : ` for ${age(nowMs - since)}`}`
}

function interfaceText(connection: unknown): string {
  const name = textAt(connection, 'interface')
  const mtu = numberAt(connection, 'mtu')
  const facts = [
    textAt(connection, 'mechanism'),
    textAt(connection, 'payload'),
    mtu === 0 ? '' : `MTU ${mtu}`,
  ]
  return name === '' ? '' : `${name} (${facts.filter((word) => word !== '').join(', ')})`
}

function routeText(route: unknown): string {
  const hop = textAt(route, 'nextHop')
  return `${textAt(route, 'prefix')}${hop === '' ? '' : ` by ${hop}`}`
}

function namesOf(config: unknown): string {
  const domains = listAt(config, 'searchDomains').join(', ')
  const errors = Object.entries(textsAt(config, 'lastErrors')).map(
    ([server, error]) => ` (${server}: ${error})`,
  )
  return `${domains || 'no domains'} from ${listAt(config, 'servers').join(', ')}${errors.join('')}`
}

function requestsText(connection: unknown): string {
  const took = at(connection, 'requestMs')
  const last = typeof took === 'number' ? `; the last one took ${took.toFixed(1)} ms` : ''
  return `${numberAt(connection, 'requests', 'succeeded')} succeeded, ${numberAt(connection, 'requests', 'failed')} failed${last}`
}

function repairsText(connection: unknown, nowMs: number): string {
  const number = numberAt(connection, 'heals', 'count')
  if (number === 0) return 'none needed'
  const last = at(connection, 'heals', 'last')
  return `${number}; the last ${when(timeAt(last, 'at'), nowMs)} after ${textAt(last, 'cause')}, took ${numberAt(last, 'ms').toFixed(0)} ms`
}

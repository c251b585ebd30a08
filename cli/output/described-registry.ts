import type { Endpoint, Match, Service } from '../cluster/registry-objects.ts'
import { labelText, lines, indented, when } from './described.ts'
import { table } from './table.ts'

/** A pod that asks for a service. */
export interface Client {
  readonly namespace: string
  readonly pod: string
  readonly state: string
  /** Empty while none serves it. */
  readonly endpoint: string
  readonly addresses: readonly string[]
}

/** A NetworkService: whom it leads where, who serves it, who uses it. */
export function serviceText(
  service: Service,
  known: { readonly endpoints: readonly Endpoint[]; readonly clients: readonly Client[] },
  nowMs: number,
): string {
  const { endpoints, clients } = known
  const rows = endpoints.map(({ namespace, name, labels, url, expiresMs }) => [
    `${namespace}/${name}`,
    labelText(labels[service.name] ?? {}),
    when(expiresMs, nowMs) || '-',
    url || '-',
  ])
  return [
    lines([
      ['Network service', service.name],
      ['Object', `networkservice/${service.object.metadata.name ?? ''} in namespace ${service.namespace}`],
      ['Payload', service.payload],
    ]),
    `\nMatches:\n${matchesText(service.matches)}`,
    block('Endpoints', ['ENDPOINT', 'LABELS', 'EXPIRES', 'URL'], rows),
    clientsText(clients),
  ].join('')
}

/** A NetworkServiceEndpoint: what it serves, for how long, whom. */
export function endpointText(endpoint: Endpoint, clients: readonly Client[], nowMs: number): string {
  const { namespace, name, services, labels, url, expiresMs, registeredMs, owners, object } = endpoint
  const served = services.map((service) => [service, labelText(labels[service] ?? {})])
  return [
    lines([
      ['Endpoint', name],
      ['Object', `networkserviceendpoint/${object.metadata.name ?? ''} in namespace ${namespace}`],
      ['URL', url],
      ['Registered', when(registeredMs, nowMs)],
      [
        'Expires',
        `${when(expiresMs, nowMs) || 'never'}${(expiresMs ?? nowMs + 1) <= nowMs ? ': it is gone' : ''}`,
      ],
      ['Registered by', owners.join(', ')],
    ]),
    block('Services', ['SERVICE', 'LABELS'], served),
    clientsText(clients),
  ].join('')
}

function clientsText(clients: readonly Client[]): string {
  const rows = clients.map(({ namespace, pod, state, endpoint, addresses }) => [
    `${namespace}/${pod}`,
    state,
    endpoint || '-',
    addresses.join(',') || '-',
  ])
  return block('Clients', ['POD', 'STATE', 'ENDPOINT', 'ADDRESS'], rows)
}

function matchesText(matches: readonly Match[]): string {
  if (matches.length === 0) return '  none: any client, any endpoint\n'
  const rows = matches.flatMap(({ source, routes, fallthrough }, i) =>
    (routes.length === 0 ? [{ destination: {}, weight: 0 }] : routes).map(({ destination, weight }) => [
      String(i + 1),
      labelText(source).replace(/^-$/, 'any'),
      labelText(destination).replace(/^-$/, 'any'),
      weight === 0 ? '-' : String(weight),
      fallthrough ? 'tries the next match' : 'is refused',
    ]),
  )
  return indented(table(['MATCH', 'CLIENTS WITH', 'ENDPOINTS WITH', 'WEIGHT', 'WITHOUT ONE'], rows), '  ')
}

function block(title: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? `\n${title}: none\n` : `\n${title}:\n${indented(table(head, rows), '  ')}`
}

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
        `${when(expiresMs, nowMs) || 'never'}${(expiresMs ?? nowMs + 1) <= nowMs ? ', unless the registry knows better' : ''}`,
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
  const any = (labels: Readonly<Record<string, string>>): string =>
    Object.keys(labels).length === 0 ? 'any' : labelText(labels)
  const rows = matches.flatMap(({ source, routes, fallthrough }, i) => {
    const row = (endpoints: string, weight: string): readonly string[] => [
      String(i + 1),
      any(source),
      endpoints,
      weight,
      fallthrough ? 'the next match' : 'refused',
    ]
    if (routes.length === 0) return [row('none', '-')]
    return routes.map(({ destination, weight }) => row(any(destination), weight === 0 ? '-' : String(weight)))
  })
  return indented(table(['MATCH', 'CLIENTS WITH', 'ENDPOINTS WITH', 'WEIGHT', 'IF NONE FITS'], rows), '  ')
}

function block(title: string, head: readonly string[], rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? `\n${title}: none\n` : `\n${title}:\n${indented(table(head, rows), '  ')}`
}

import { NsmError } from '@nsm/sdk/errors.js'
import type { Cluster, Item } from './cluster.ts'
import { listAt, numberAt, textAt, textsAt, at } from './fields.ts'
import { howToInstall, resourcesPath } from './names.ts'
import { isObject } from '../manifest/shape.ts'

/** A NetworkService as its custom resource has it. */
export interface Service {
  readonly namespace: string
  readonly name: string
  readonly payload: string
  readonly matches: readonly Match[]
  readonly object: Item
}

/** Which clients are led to which endpoints. */
export interface Match {
  readonly source: Readonly<Record<string, string>>
  readonly routes: readonly {
    readonly destination: Readonly<Record<string, string>>
    readonly weight: number
  }[]
  readonly fallthrough: boolean
}

/** A NetworkServiceEndpoint as its custom resource has it. */
export interface Endpoint {
  readonly namespace: string
  readonly name: string
  readonly services: readonly string[]
  /** Labels by service. */
  readonly labels: Readonly<Record<string, Readonly<Record<string, string>>>>
  readonly url: string
  /** Milliseconds since 1970; undefined = not said. */
  readonly expiresMs: number | undefined
  readonly registeredMs: number | undefined
  /** SPIFFE IDs of those who registered it. */
  readonly owners: readonly string[]
  readonly object: Item
}

export async function servicesIn(cluster: Cluster): Promise<readonly Service[]> {
  return (await resources(cluster, 'networkservices')).map(serviceOf)
}

export async function endpointsIn(cluster: Cluster): Promise<readonly Endpoint[]> {
  return (await resources(cluster, 'networkserviceendpoints')).map(endpointOf)
}

async function resources(cluster: Cluster, plural: string): Promise<readonly Item[]> {
  return cluster.list(`${resourcesPath}/${plural}`).catch((reason: unknown) => {
    const err = NsmError.from(reason)
    if (err.code !== 'NOT_FOUND') throw err
    throw new NsmError(
      'NOT_FOUND',
      `there is no mesh in this cluster: ${plural} are not defined; install it with \`${howToInstall}\``,
    )
  })
}

function serviceOf(object: Item): Service {
  const { name = '', namespace = '' } = object.metadata
  return {
    namespace,
    name: textAt(object, 'spec', 'name') || name,
    payload: textAt(object, 'spec', 'payload') || 'IP',
    matches: listAt(object, 'spec', 'matches').map((match) => ({
      source: textsAt(match, 'source_selector'),
      routes: listAt(match, 'routes').map((route) => ({
        destination: textsAt(route, 'destination_selector'),
        weight: numberAt(route, 'weight'),
      })),
      fallthrough: at(match, 'fallthrough') === true,
    })),
    object,
  }
}

function endpointOf(object: Item): Endpoint {
  const { name = '', namespace = '' } = object.metadata
  const labels = at(object, 'spec', 'network_service_labels')
  return {
    namespace,
    name: textAt(object, 'spec', 'name') || name,
    services: texts(object, 'network_service_names'),
    labels: Object.fromEntries(
      Object.entries(isObject(labels) ? labels : {}).map(([service, one]) => [
        service,
        textsAt(one, 'labels'),
      ]),
    ),
    url: textAt(object, 'spec', 'url'),
    expiresMs: timestampAt(object, 'expiration_time'),
    registeredMs: timestampAt(object, 'initial_registration_time'),
    owners: texts(object, 'path_ids'),
    object,
  }
}

function texts(object: Item, field: string): readonly string[] {
  return listAt(object, 'spec', field).filter((one): one is string => typeof one === 'string')
}

/** Go's JSON of a protobuf timestamp. */
function timestampAt(object: Item, field: string): number | undefined {
  const seconds = numberAt(object, 'spec', field, 'seconds')
  return seconds === 0 ? undefined : seconds * 1_000 + numberAt(object, 'spec', field, 'nanos') / 1e6
}

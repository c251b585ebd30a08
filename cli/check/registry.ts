import { listAt } from '../cluster/fields.ts'
import { envOf } from '../cluster/pods.ts'
import { endpointsIn, servicesIn } from '../cluster/registry-objects.ts'
import type { Check } from './check.ts'
import type { Facts } from './facts.ts'
import { count, ok, some, warning, type Finding } from './finding.ts'

/** Registries write the end of a life late, and remove endpoints later still. */
const graceMs = 120_000

/** Whether services are served, and endpoints are alive. */
export const registryChecks: readonly Check[] = [{ about: 'services and endpoints', run: objects }]

async function objects({ cluster, installation, nowMs }: Facts): Promise<readonly Finding[]> {
  const registry = installation.parts.find(({ name }) => name === 'registry')
  const container = listAt(registry?.object, 'spec', 'template', 'spec', 'containers')[0]
  if (envOf(container, 'NSM_STORE') === 'memory')
    return [warning('the registry keeps services and endpoints in memory: they can’t be seen from here')]
  const [services, endpoints] = await Promise.all([servicesIn(cluster), endpointsIn(cluster)])
  const dead = endpoints.filter(({ expiresMs }) => expiresMs !== undefined && expiresMs + graceMs <= nowMs)
  const alive = endpoints.filter((one) => !dead.includes(one))
  const forwarders = alive.filter((one) => one.services.every(isInternal)).length
  const served = new Set(alive.flatMap((one) => one.services))
  const known = new Set(services.map(({ name }) => name))
  const idle = services.filter(({ name }) => !served.has(name) && !isInternal(name))
  const nameless = [...served].filter((name) => !known.has(name) && !isInternal(name))
  return [
    ok(
      `${count(services.length, 'NetworkService')}, ${count(alive.length - forwarders, 'endpoint')}, ${count(forwarders, 'forwarder')}`,
    ),
    ...(idle.length > 0
      ? [
          warning(
            `no endpoint serves ${some(idle.map(({ namespace, name }) => `${namespace}/${name}`))}`,
            'clients wait until one does; `kubectl nsm describe service NAME` shows the service',
          ),
        ]
      : []),
    ...(nameless.length > 0
      ? [
          warning(
            `there is no NetworkService for ${some(nameless)}, which endpoints serve`,
            'without it clients don’t find them: apply one',
          ),
        ]
      : []),
    ...(dead.length > 0
      ? [
          warning(
            `${count(dead.length, 'endpoint')} expired and not yet removed: ${some(dead.map(({ name }) => name))}`,
            'the registry removes them: kubectl nsm logs registry',
          ),
        ]
      : []),
  ]
}

/** Forwarders register as endpoints of a service that nobody describes. */
function isInternal(service: string): boolean {
  return service === 'forwarder'
}

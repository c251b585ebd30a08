import { NetworkService } from '@nsm/api/gen/registry.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background, withTimeout } from '@nsm/sdk/ctx.js'
import type { Logger } from '@nsm/sdk/log.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { namespaceOf, type NetworkServiceObject } from '../manifest/objects.ts'

/** Writes the NetworkServices of the YAML into the registry, as an API server's custom resources would be there. */
export interface NetworkServices {
  list(): readonly NetworkServiceObject[]
  /** Registers, or replaces. */
  apply(object: NetworkServiceObject): Promise<void>
  /** False when there is none. */
  remove(namespace: string, name: string): Promise<boolean>
  close(): void
}

export interface NetworkServicesOptions {
  readonly registryUrl: string
  /** Address of the Workload API. */
  readonly workloadApi: string
  readonly log: Logger
  readonly signal: AbortSignal
}

const callTimeoutMs = 15_000
const dialTimeoutMs = 2_000
const tokenLifeMs = 600_000

/** Waits for this process' own SVID. What is registered is registered again when the registry has lost it. */
export async function networkServices(options: NetworkServicesOptions): Promise<NetworkServices> {
  const { log, signal } = options
  const source = await openIdentity(options.workloadApi, log, signal)
  const tokens = tokenGenerator({ maxLifetimeMs: tokenLifeMs, clock: systemClock })
  const sessions = dialer({ source, tokens, dialTimeoutMs, log })
  const registry = registryClient({ url: options.registryUrl, dial: sessions.dial, signal }).networkServices
  const objects = new Map<string, NetworkServiceObject>()
  const keyOf = (object: NetworkServiceObject): string => `${namespaceOf(object)}/${object.metadata.name}`

  return {
    list: () => [...objects.values()],
    async apply(object) {
      await withTimeout(background({ log, signal }), callTimeoutMs, async (ctx) =>
        registry.register(ctx, messageOf(object)),
      )
      objects.set(keyOf(object), object)
    },
    async remove(namespace, name) {
      const object = objects.get(`${namespace}/${name}`)
      if (object === undefined) return false
      await withTimeout(background({ log, signal }), callTimeoutMs, async (ctx) =>
        registry.unregister(ctx, messageOf(object)),
      )
      objects.delete(keyOf(object))
      return true
    },
    close() {
      sessions.close()
      source.close()
    },
  }
}

/** The custom resource's fields, in snake case, as the registry's message. */
export function messageOf({ metadata, spec = {} }: NetworkServiceObject): NetworkService {
  return NetworkService.fromPartial({
    name: spec.name ?? metadata.name,
    payload: spec.payload || 'ETHERNET',
    matches: (spec.matches ?? []).map((match) => ({
      sourceSelector: match.source_selector ?? {},
      fallthrough: match.fallthrough ?? false,
      ...(match.metadata === undefined ? {} : { metadata: { labels: match.metadata.labels ?? {} } }),
      routes: (match.routes ?? []).map((route) => ({
        destinationSelector: route.destination_selector ?? {},
        weight: route.weight ?? 0,
      })),
    })),
  })
}

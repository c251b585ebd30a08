import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import type { Contact } from './contact.ts'
import type { KnownObjects } from './known-objects.ts'
import type { Resource } from './resource.ts'

/** What the pieces of one store work on together. */
export interface Shared<Item extends RegistryItem, Query, Response> {
  readonly resource: Resource<Item, Query, Response>
  readonly known: KnownObjects<Item>
  readonly client: ApiClient
  readonly outage: Contact['outage']
  /** Where registrations are written. */
  readonly namespace: string
  readonly clock: Clock
  readonly log: Logger
  /** 0 ≤ x < 1; keeps replicas from doing one thing at one time. */
  readonly random: () => number
}

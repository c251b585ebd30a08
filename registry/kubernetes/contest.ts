import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import type { Renewals } from './renewals.ts'
import type { Shared } from './shared.ts'
import type { Writes } from './writes.ts'

/**
 * Somebody was refused a name because it is another's. That one may be gone, and the replica that would know as well, so that the object
 * would stay for as long as was written ahead: it is given one life from now. An owner who lives refreshes before that.
 */
export function contest<Item extends RegistryItem, Query, Response>(
  { resource, known, namespace, clock, log }: Shared<Item, Query, Response>,
  writes: Writes<Item>,
  { renewed, lifeMs }: { readonly renewed: Renewals<Item>; readonly lifeMs: number },
): (name: string) => void {
  return (name) => {
    const one = known.at(namespace, name)
    if (one === undefined || one.endsMs === Infinity || renewed.endOf(one).isOwn) return
    const { endsMs } = one
    if (endsMs <= clock.now() + lifeMs) return
    const shortened = writes.put(name, (now) =>
      now?.stored === undefined || now.endsMs !== endsMs
        ? undefined
        : resource.expiring(now.stored, clock.now() + lifeMs),
    )
    void shortened.catch((err: unknown) =>
      log.debug({ name, err: String(err) }, 'end of a contested name not written'),
    )
  }
}

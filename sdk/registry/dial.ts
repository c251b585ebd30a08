import { key, valueOf, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import type { Dial, Remote } from '../transport/remote.ts'

const remote: Key<Remote> = key('registry remote')

/** The session that this registry call goes over. @throws NsmError INTERNAL when the chain has no `dial` element before. */
export function remoteOfCall(ctx: Ctx): Remote {
  const found = valueOf(ctx, remote)
  if (found === undefined) throw new NsmError('INTERNAL', 'the registry chain has no dial element')
  return found
}

/** Gets a session to `url` (`unix:///path` or `tcp://host:port`) for each call, shared with other calls of that time. */
export function dial<Item extends RegistryItem, Query, Response>(
  open: Dial,
  url: string,
): RegistryElement<Item, Query, Response> {
  async function during<T>(ctx: Ctx, run: (ctx: Ctx) => Promise<T>): Promise<T> {
    const session = await open(ctx, url)
    try {
      return await run(withValue(ctx, remote, session))
    } finally {
      session.release()
    }
  }

  return {
    name: 'dial',
    register: (ctx, item, next) => during(ctx, (inner) => next.register(inner, item)),
    unregister: (ctx, item, next) => during(ctx, (inner) => next.unregister(inner, item)),
    async *find(ctx, query, next) {
      const session = await open(ctx, url)
      try {
        yield* next.find(withValue(ctx, remote, session), query)
      } finally {
        session.release()
      }
    },
  }
}

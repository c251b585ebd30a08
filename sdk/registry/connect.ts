import type { Ctx } from '../ctx.ts'
import type { Registry, RegistryItem } from '../registry-chain.ts'
import type { Dial, Remote } from '../transport/remote.ts'

export interface ConnectOptions<Item, Query, Response> {
  readonly dial: Dial
  /** `unix:///path` or `tcp://host:port`. */
  readonly url: string
  /** Which of the remote's two registries. */
  readonly api: (remote: Remote) => Registry<Item, Query, Response>
}

/** A remote registry, as the end of a chain; each call uses the shared session of that time. */
export function connect<Item extends RegistryItem, Query, Response>(
  options: ConnectOptions<Item, Query, Response>,
): Registry<Item, Query, Response> {
  const { dial, url, api } = options

  async function during<T>(
    ctx: Ctx,
    run: (registry: Registry<Item, Query, Response>) => Promise<T>,
  ): Promise<T> {
    const remote = await dial(ctx, url)
    try {
      return await run(api(remote))
    } finally {
      remote.release()
    }
  }

  return {
    register: (ctx, item) => during(ctx, (registry) => registry.register(ctx, item)),
    unregister: (ctx, item) => during(ctx, (registry) => registry.unregister(ctx, item)),
    async *find(ctx, query) {
      const remote = await dial(ctx, url)
      try {
        yield* api(remote).find(ctx, query)
      } finally {
        remote.release()
      }
    },
  }
}

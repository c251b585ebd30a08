import { connectionOf, type Element } from '../chain.ts'
import { valueOf } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { connectionEvents, type ConnectionEvents } from './begin.ts'

/** A process that can be removed for good. */
export interface Leaving {
  readonly element: Element
  /** Refuses all requests from now on and closes what there is, as its clients would; answers how many. Never rejects. */
  leave(): Promise<number>
}

/** Connections stay when a process stops, for its successor to take over; this is for one that has none. */
export function leaving(): Leaving {
  const open = new Map<string, ConnectionEvents>()
  let hasLeft = false

  async function closeOne(id: string, events: ConnectionEvents): Promise<boolean> {
    open.delete(id)
    return events.close().then(
      () => true,
      () => false,
    )
  }

  return {
    element: {
      name: 'leaving',

      async request(ctx, req, next) {
        if (hasLeft) throw new NsmError('UNAVAILABLE', 'this process is being removed and takes no requests')
        const answer = await next.request(ctx, req)
        const events = valueOf(ctx, connectionEvents)
        if (events === undefined) return answer
        const { id } = connectionOf(req)
        open.set(id, events)
        // It was under way when the others were closed; its turn comes when this one is over.
        if (hasLeft) void closeOne(id, events)
        return answer
      },

      async close(ctx, conn, next) {
        open.delete(conn.id)
        await next.close(ctx, conn)
      },
    },

    async leave() {
      hasLeft = true
      const results = await Promise.all([...open].map(async ([id, events]) => closeOne(id, events)))
      return results.filter(Boolean).length
    },
  }
}

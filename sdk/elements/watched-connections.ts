import type { Connection, MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import { multiMap } from '../multi-map.ts'
import { readTokens, type ReadToken } from '../policies/policy.ts'

/** A connection as its watchers know it. */
export interface Watched {
  readonly conn: Connection
  /** Of the path before this process. */
  readonly tokens: readonly ReadToken[]
}

/** Connections by their own id, and by the ids on their paths: one of ten thousand is found without a look at the others. */
export interface WatchedConnections {
  get(id: string): Watched | undefined
  set(conn: Connection): Watched
  delete(id: string): void
  /** All that may be in the selector's scope. */
  candidates(selector: MonitorScopeSelector): Iterable<Watched>
  all(): Iterable<Watched>
}

/** An id that every connection in the selector's scope has on its path; undefined = the selector names none. */
export function selectedId({ pathSegments }: MonitorScopeSelector): string | undefined {
  return pathSegments.find(({ id }) => id !== '')?.id
}

/** Ids on the path, each once. */
export function idsOf({ path }: Connection): ReadonlySet<string> {
  return new Set(path?.pathSegments.map(({ id }) => id))
}

export function watchedConnections(): WatchedConnections {
  const known = new Map<string, Watched>()
  const bySegment = multiMap<string, string>()

  function remove(id: string): void {
    const before = known.get(id)
    if (before !== undefined) for (const segment of idsOf(before.conn)) bySegment.delete(segment, id)
    known.delete(id)
  }

  return {
    get: (id) => known.get(id),
    set(conn) {
      remove(conn.id)
      const before = conn.path?.pathSegments.slice(0, conn.path.index) ?? []
      const watched: Watched = { conn, tokens: readTokens(before.map(({ token }) => token)) }
      known.set(conn.id, watched)
      for (const segment of idsOf(conn)) bySegment.add(segment, conn.id)
      return watched
    },
    delete: remove,
    candidates(selector) {
      const id = selectedId(selector)
      if (id === undefined) return known.values()
      return [...bySegment.get(id)].flatMap((conn) => known.get(conn) ?? [])
    },
    all: () => known.values(),
  }
}

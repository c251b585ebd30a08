import { connectionOf, type Element } from '../chain.ts'
import { key, valueOf, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'

/** What the elements of one chain remember about one connection from call to call. */
export interface Metadata {
  get<T>(name: Key<T>): T | undefined
  set<T>(name: Key<T>, value: T): void
  delete(name: Key<unknown>): void
}

/** The two halves of a process know a connection by one id, but remember separately. */
export type Half = 'server' | 'client'

const keys: Readonly<Record<Half, Key<Metadata>>> = {
  server: key('server metadata'),
  client: key('client metadata'),
}

/** What is remembered about the connection of this call. @throws NsmError INTERNAL when the chain has no `metadata` element before. */
export function metadataOf(ctx: Ctx, half: Half): Metadata {
  const found = valueOf(ctx, keys[half])
  if (found === undefined) throw new NsmError('INTERNAL', `the chain has no ${half} metadata element`)
  return found
}

/** Keeps what elements remember about a connection until its close, or until its first request fails. */
export function metadata(half: Half): Element {
  const stores = new Map<string, Metadata>()

  return {
    name: `metadata ${half}`,

    async request(ctx, req, next) {
      const { id } = connectionOf(req)
      const known = stores.get(id)
      const store = known ?? newStore()
      stores.set(id, store)
      try {
        return await next.request(withValue(ctx, keys[half], store), req)
      } catch (err) {
        if (known === undefined) stores.delete(id)
        throw err
      }
    },

    async close(ctx, conn, next) {
      const store = stores.get(conn.id) ?? newStore()
      try {
        await next.close(withValue(ctx, keys[half], store), conn)
      } finally {
        stores.delete(conn.id)
      }
    },
  }
}

function newStore(): Metadata {
  const values = new Map<Key<unknown>, unknown>()
  return {
    get: <T>(name: Key<T>) => values.get(name) as T | undefined,
    set: (name, value) => void values.set(name, value),
    delete: (name) => void values.delete(name),
  }
}

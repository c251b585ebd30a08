import { NsmError } from '../errors.ts'

/** Who registered which name. */
export interface Owners {
  /** Undefined = the name is free. */
  of(name: string, nowMs: number): string | undefined
  /** Takes a name that is free or is the owner's already; the answer undoes that. @throws NsmError RESOURCE_EXHAUSTED. */
  claim(name: string, owner: string, nowMs: number): () => void
  /** The owner's registration went through; says when the name becomes free by itself. */
  confirm(name: string, owner: string, expiresMs: number): void
  free(name: string): void
}

interface Claim {
  readonly owner: string
  readonly expiresMs: number
}

/** More than a store holds, since names of expired objects stay until there are so many. */
const maxNames = 262_144
/** A search for expired names takes milliseconds when there are so many: not for every call. */
const searchPauseMs = 1000

/** Owners in memory; names that have expired are free, and forgotten when there are too many. */
export function owners(limit: number = maxNames): Owners {
  const claims = new Map<string, Claim>()

  let searchedMs = -Infinity

  function makeRoom(nowMs: number): void {
    if (claims.size < limit) return
    const due = nowMs - searchedMs >= searchPauseMs
    if (due) searchedMs = nowMs
    for (const [name, { expiresMs }] of due ? claims : []) if (expiresMs <= nowMs) claims.delete(name)
    if (claims.size >= limit)
      throw new NsmError('RESOURCE_EXHAUSTED', `${claims.size} names are registered, no more are allowed`)
  }

  return {
    of(name, nowMs) {
      const claim = claims.get(name)
      return claim === undefined || claim.expiresMs <= nowMs ? undefined : claim.owner
    },

    claim(name, owner, nowMs) {
      const before = claims.get(name)
      if (before?.owner === owner) return () => undefined
      if (before === undefined) makeRoom(nowMs)
      const mine: Claim = { owner, expiresMs: Infinity }
      claims.set(name, mine)
      return () => {
        if (claims.get(name) === mine) claims.delete(name)
      }
    },

    confirm: (name, owner, expiresMs) => void claims.set(name, { owner, expiresMs }),

    free: (name) => void claims.delete(name),
  }
}

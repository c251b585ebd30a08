import type { Owners } from '@nsm/sdk/registry/owners.js'

/** Owners as the store knows them, and those of calls that are under way. @param stored whose a stored name is */
export function storedOwners(stored: (name: string) => string | undefined): Owners {
  const claims = new Map<string, string>()
  const of = (name: string): string | undefined => claims.get(name) ?? stored(name)
  return {
    of,
    claim(name, owner) {
      if (of(name) === owner) return () => undefined
      claims.set(name, owner)
      return () => {
        if (claims.get(name) === owner) claims.delete(name)
      }
    },
    confirm: (name) => void claims.delete(name),
    free: (name) => void claims.delete(name),
  }
}

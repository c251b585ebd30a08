import type { Element } from '../chain.ts'

/** Offers the named mechanism types first, in this order; the others keep theirs behind (NSM_MECHANISM_PRIORITY, wire contract §2.4). */
export function mechanismPriority(types: readonly string[]): Element {
  const rank = new Map(types.map((type, at) => [type.toUpperCase(), at]))
  const rankOf = (type: string): number => rank.get(type.toUpperCase()) ?? types.length

  return {
    name: 'mechanism priority',
    request(ctx, req, next) {
      const mechanismPreferences = req.mechanismPreferences.toSorted(
        (a, b) => rankOf(a.type) - rankOf(b.type),
      )
      return next.request(ctx, { ...req, mechanismPreferences })
    },
  }
}

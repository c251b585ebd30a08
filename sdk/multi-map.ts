/** Several values under one key. */
export interface MultiMap<K, V> {
  add(key: K, value: V): void
  delete(key: K, value: V): void
  /** Empty when there is none. */
  get(key: K): ReadonlySet<V>
}

export function multiMap<K, V>(): MultiMap<K, V> {
  const sets = new Map<K, Set<V>>()
  const none: ReadonlySet<V> = new Set()
  return {
    add(key, value) {
      const set = sets.get(key)
      if (set === undefined) sets.set(key, new Set([value]))
      else set.add(value)
    },
    delete(key, value) {
      const set = sets.get(key)
      if (set?.delete(value) === true && set.size === 0) sets.delete(key)
    },
    get: (key) => sets.get(key) ?? none,
  }
}

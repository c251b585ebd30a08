/** Does the same with each item, a few at once; the answers stand in the items' order. Rejects with the first error. */
export async function inParallel<T, R>(
  items: readonly T[],
  limit: number,
  each: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    for (;;) {
      const i = next
      next += 1
      const item = items[i]
      if (i >= items.length || item === undefined) return
      results[i] = await each(item)
    }
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  return results
}

/** Numbers from `first` to `last`, both included. */
export interface Range {
  readonly first: bigint
  readonly last: bigint
}

/** A set of numbers kept as disjoint ranges that do not touch; each call costs O(log ranges), however large the ranges are. */
export interface RangeSet {
  has(value: bigint): boolean
  /** The range that holds `value`, or else the next one above. */
  from(value: bigint): Range | undefined
  add(value: bigint): void
  remove(value: bigint): void
}

/** A treap node: ordered by `range`, heap by `rank`. Never changed; an update makes a new path. */
interface Node {
  readonly range: Range
  readonly rank: number
  readonly left: Node | undefined
  readonly right: Node | undefined
}

/** Makes a set that holds one range. */
export function rangeSet(whole: Range, random: () => number = Math.random): RangeSet {
  let root: Node | undefined = leaf(whole)

  function leaf(range: Range): Node {
    return { range, rank: random(), left: undefined, right: undefined }
  }

  function from(value: bigint): Range | undefined {
    let best: Range | undefined
    for (let node = root; node !== undefined;) {
      if (node.range.last >= value) {
        best = node.range
        node = node.left
      } else node = node.right
    }
    return best
  }

  function has(value: bigint): boolean {
    const range = from(value)
    return range !== undefined && range.first <= value
  }

  function replace(gone: readonly Range[], come: readonly Range[]): void {
    for (const range of gone) {
      const [below, rest] = split(root, range.first)
      const [, above] = split(rest, range.first + 1n)
      root = merge(below, above)
    }
    for (const range of come) {
      const [below, above] = split(root, range.first)
      root = merge(merge(below, leaf(range)), above)
    }
  }

  return {
    has,
    from,
    add(value) {
      if (has(value)) return
      const above = from(value)
      const touchesAbove = above !== undefined && above.first === value + 1n
      // Values below 0 are never in a set, so `value - 1n` needs no check.
      const below = has(value - 1n) ? from(value - 1n) : undefined
      const first = below?.first ?? value
      const last = touchesAbove ? above.last : value
      replace([...(below === undefined ? [] : [below]), ...(touchesAbove ? [above] : [])], [{ first, last }])
    },
    remove(value) {
      const range = from(value)
      if (range === undefined || range.first > value) return
      const rest = [
        { first: range.first, last: value - 1n },
        { first: value + 1n, last: range.last },
      ]
      replace(
        [range],
        rest.filter(({ first, last }) => first <= last),
      )
    },
  }
}

/** Nodes whose range starts below `first`, and the others. */
function split(node: Node | undefined, first: bigint): [Node | undefined, Node | undefined] {
  if (node === undefined) return [undefined, undefined]
  if (node.range.first < first) {
    const [low, high] = split(node.right, first)
    return [{ ...node, right: low }, high]
  }
  const [low, high] = split(node.left, first)
  return [low, { ...node, left: high }]
}

function merge(a: Node | undefined, b: Node | undefined): Node | undefined {
  if (a === undefined) return b
  if (b === undefined) return a
  return a.rank > b.rank ? { ...a, right: merge(a.right, b) } : { ...b, left: merge(a, b.left) }
}

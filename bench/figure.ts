/** One measured figure. */
export interface Figure {
  /** What was measured, as a person reads it. */
  readonly what: string
  readonly value: number
  /** `ms`, `/s`, `×`, `MB`, `µs`. */
  readonly unit: string
  /** What design asks for, as a bound on `value`; absent = for information. */
  readonly target?: { readonly atMost: number } | { readonly atLeast: number }
  /** How far single rounds lay apart: lowest and highest, or p10 and p90, in `unit`. */
  readonly spread?: readonly [number, number]
}

/** A part of the benchmark. `quick` runs it for a moment only, to show that it runs. */
export type Section = (options: { readonly quick: boolean }) => Promise<readonly Figure[]>

/** The value below which a share of the samples lies (nearest rank). @throws RangeError without samples */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const found = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))]
  if (found === undefined) throw new RangeError('no samples')
  return found
}

export function isMissed({ value, target }: Figure): boolean {
  if (target === undefined) return false
  return 'atMost' in target ? value > target.atMost : value < target.atLeast
}

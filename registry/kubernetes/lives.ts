import type { Clock } from '@nsm/sdk/clock.js'

/** One registration, as this replica knows it. */
export interface Life {
  /** What the owner was told last, ms since the epoch. */
  readonly untilMs: number
  /** The end that this replica wrote last; undefined = none that holds. */
  readonly writtenMs: number | undefined
  /** It is being removed, because it is over. */
  readonly isEnding: boolean
}

/** When registrations end whose owners speak with this replica. */
export interface Lives {
  get(name: string): Life | undefined
  /** The owner was told that it lives until then. Answers what was known before. */
  told(name: string, untilMs: number): Life | undefined
  /** This end is being written. */
  wrote(name: string, writtenMs: number): void
  /** And was: should it have been removed meanwhile, it is there again. */
  goesOn(name: string): void
  delete(name: string): void
  /** Its owner is done with it, but it could not be removed. */
  end(name: string): void
  /** It is being removed. The answer takes that back. */
  ending(name: string): () => void
  /** When a registration ends whose object has this end. `isOwn` = this replica decides. */
  endOf(name: string, endsMs: number): { readonly endsMs: number; readonly isOwn: boolean }
  names(): Iterable<string>
}

/** The end by the clock that nobody sets: an owner's life is neither longer nor shorter for a machine's new time. */
interface Kept extends Omit<Life, 'untilMs'> {
  readonly until: number
}

/**
 * The replica that wrote an object last knows how long its owner wants it, which may be less than what is written. It is known by the
 * very time that it wrote: who writes another has heard of a refresh that it has not.
 */
export function lives(clock: Clock): Lives {
  const all = new Map<string, Kept>()
  const kept = (untilMs: number): number => untilMs - clock.now() + clock.monotonic()

  function get(name: string): Life | undefined {
    const life = all.get(name)
    if (life === undefined) return undefined
    const { until, writtenMs, isEnding } = life
    return { untilMs: Math.round(until - clock.monotonic() + clock.now()), writtenMs, isEnding }
  }

  return {
    get,

    told(name, untilMs) {
      const before = get(name)
      const { writtenMs, isEnding } = before ?? { writtenMs: undefined, isEnding: false }
      all.set(name, { until: kept(untilMs), writtenMs, isEnding })
      return before
    },

    wrote(name, writtenMs) {
      const { until, isEnding } = all.get(name) ?? { until: kept(writtenMs), isEnding: false }
      all.set(name, { until, writtenMs, isEnding })
    },

    goesOn(name) {
      const life = all.get(name)
      if (life !== undefined) all.set(name, { ...life, isEnding: false })
    },

    delete: (name) => void all.delete(name),

    end(name) {
      const life = all.get(name)
      if (life !== undefined) all.set(name, { ...life, until: clock.monotonic() })
    },

    ending(name) {
      const life = all.get(name)
      if (life === undefined) return () => undefined
      const now: Kept = { until: life.until, writtenMs: undefined, isEnding: true }
      all.set(name, now)
      return () => {
        if (all.get(name) === now) all.set(name, life)
      }
    },

    endOf(name, endsMs) {
      const life = get(name)
      if (life === undefined) return { endsMs, isOwn: false }
      const isOwn = life.writtenMs === endsMs
      return { endsMs: isOwn ? life.untilMs : Math.max(life.untilMs, endsMs), isOwn }
    },

    names: () => all.keys(),
  }
}

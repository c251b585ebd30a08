/** How it stands: as it should be, worth a look, or broken. */
export type Level = 'ok' | 'warning' | 'fault'

/** One line of a check. */
export interface Finding {
  readonly level: Level
  /** What was found, in a sentence. */
  readonly text: string
  /** What to do about it; empty when there is nothing to do. */
  readonly hint: string
}

export function ok(text: string): Finding {
  return { level: 'ok', text, hint: '' }
}

export function warning(text: string, hint = ''): Finding {
  return { level: 'warning', text, hint }
}

export function fault(text: string, hint = ''): Finding {
  return { level: 'fault', text, hint }
}

/** `one pod`, `3 pods`. */
export function count(number: number, noun: string): string {
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`
}

/** The first few, and how many more there are. */
export function some(names: readonly string[], most = 5): string {
  const rest = names.length - most
  return rest <= 0 ? names.join(', ') : `${names.slice(0, most).join(', ')} and ${rest} more`
}

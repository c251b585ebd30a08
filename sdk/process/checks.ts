/** Says why something is not ready yet, in a sentence; undefined = ready. Called on each probe: cheap and synchronous. */
export type Check = () => string | undefined

/** The named conditions under which a process is ready. */
export interface Checks {
  /** Adds a condition; the answer removes it. */
  add(name: string, check: Check): () => void
  /** What `/readyz` says. */
  report(): { readonly ready: boolean; readonly text: string }
}

/** An empty set of conditions: ready. */
export function checks(): Checks {
  const all = new Map<string, Check>()
  return {
    add(name, check) {
      all.set(name, check)
      return () => {
        if (all.get(name) === check) all.delete(name)
      }
    },
    report() {
      const results = [...all].map(([name, check]) => ({ name, reason: reasonOf(check) }))
      const ready = results.every(({ reason }) => reason === undefined)
      const lines = results.map(({ name, reason }) =>
        reason === undefined ? `[+]${name} ok` : `[-]${name} failed: ${reason}`,
      )
      return { ready, text: [...lines, ready ? 'ok' : 'not ready', ''].join('\n') }
    },
  }
}

function reasonOf(check: Check): string | undefined {
  try {
    return check()
  } catch (err) {
    return String(err)
  }
}

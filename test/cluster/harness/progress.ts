/** Tells a person what is done and how long each step took. */
export interface Progress {
  /** Runs `work` and prints its name with its duration. */
  step<T>(name: string, work: () => Promise<T>): Promise<T>
  say(text: string): void
}

export function progress(write: (line: string) => void): Progress {
  return {
    say: (text) => write(`· ${text}`),
    async step(name, work) {
      const begin = Date.now()
      try {
        return await work()
      } finally {
        write(`· ${name.padEnd(44)} ${((Date.now() - begin) / 1_000).toFixed(1).padStart(6)} s`)
      }
    },
  }
}

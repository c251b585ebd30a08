import type { Terminal } from '../output/terminal.ts'

/** What every command has at hand. */
export interface Context {
  readonly terminal: Terminal
  /** Path of the running program, for the daemon to be started from. */
  readonly program: string
  /** Aborts with Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal
  /** Exit code of the process, when it isn't 0. */
  exit(code: number): void
}

import type { Logger } from '../log.ts'
import type { LogLevel } from './variables.ts'

/** The log of a whole process. */
export interface ProcessLog {
  readonly log: Logger
  /** Takes effect at once, for children made before too. */
  readonly setLevel: (level: LogLevel) => void
  /** Resolves when all lines so far are out. */
  flush(): Promise<void>
}

/** Makes the log of process `app`, at level `info`, writing JSON lines to standard output. */
export type OpenLog = (app: string) => ProcessLog

/** Numbers of the levels in the lines, as pino writes them. */
export const levelNumbers: Readonly<Record<LogLevel, number>> = {
  trace: 10,
  debug: 20,
  info: 30,
  warn: 40,
  error: 50,
  fatal: 60,
}

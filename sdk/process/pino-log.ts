import { pino } from 'pino'
import { lineWriter, type LineWriter } from './line-writer.ts'
import type { ProcessLog } from './process-log.ts'
import type { LogLevel } from './variables.ts'

/** The log of a daemon. */
export function pinoLog(app: string, out: LineWriter = lineWriter(1)): ProcessLog {
  let least: LogLevel = 'info'
  const root = pino(
    {
      base: { app },
      level: 'trace',
      hooks: {
        // Children keep a level of their own; asking here makes a change count for all of them.
        logMethod(args, method, level) {
          if (level >= (root.levels.values[least] ?? 0)) method.apply(this, args)
        },
      },
    },
    out,
  )
  return {
    log: root,
    setLevel: (level) => {
      least = level
    },
    flush: () => out.flush(),
  }
}

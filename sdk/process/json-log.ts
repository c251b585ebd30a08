import type { Fields, Logger } from '../log.ts'
import { lineWriter, type LineWriter } from './line-writer.ts'
import { levelNumbers, type ProcessLog } from './process-log.ts'
import type { LogLevel } from './variables.ts'

/** A log with pino's fields and none of its weight, for processes whose memory is a budget. */
export function jsonLog(app: string, out: LineWriter = lineWriter(1)): ProcessLog {
  let least = levelNumbers.info
  const logger = (bound: Fields): Logger => {
    const at =
      (level: LogLevel) =>
      (fields: Fields, msg: string): void => {
        const number = levelNumbers[level]
        if (number < least) return
        out.write(`${text({ level: number, time: Date.now(), ...bound, ...fields, msg })}\n`)
      }
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => logger({ ...bound, ...fields }),
    }
  }
  return {
    log: logger({ app }),
    setLevel: (level) => {
      least = levelNumbers[level]
    },
    flush: () => out.flush(),
  }
}

function text(fields: Fields): string {
  try {
    return JSON.stringify(fields, plain)
  } catch (err) {
    const { level, time, msg } = fields
    return JSON.stringify({ level, time, msg, log_error: String(err) })
  }
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (!(value instanceof Error)) return value
  const { name, message, stack, cause } = value
  return { type: name, message, stack, ...(cause === undefined ? {} : { cause }) }
}

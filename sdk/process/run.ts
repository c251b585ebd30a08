import v8 from 'node:v8'
import { NsmError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { ConfigSchema } from './config.ts'
import type { OpenLog, ProcessLog } from './process-log.ts'
import type { LogLevel } from './variables.ts'

/** Something that runs until it is closed. */
export interface Service {
  /** Stops in good order; gives up when the signal aborts. */
  close(signal: AbortSignal): Promise<void>
  /** Settles when the service has ended by itself: fulfilled = its work is done, rejected = a fault. */
  readonly ended?: Promise<void>
}

/** One program. */
export interface App<C> {
  readonly name: string
  readonly config: ConfigSchema<C>
  readonly openLog: OpenLog
  /** `signal` aborts when the process is told to stop before it has started. */
  start(config: C, log: Logger, signal: AbortSignal): Promise<Service>
  /** Time for `close`; default 3 s, so that the process is gone within 5 s. */
  readonly drainMs?: number
}

/**
 * A program's whole life: `--help`, configuration, start, wait for a signal or a fatal fault, stop, exit.
 * Exit code 0 after SIGTERM, SIGINT or its work done, 1 after a fault; never throws.
 */
export async function run<C extends { readonly logLevel: LogLevel }>(app: App<C>): Promise<void> {
  if (process.argv.slice(2).some((arg) => arg === '--help' || arg === '-h')) {
    process.stdout.write(app.config.help(app.name))
    return
  }
  const out = app.openLog(app.name)
  process.exitCode = await live(app, out)
  await Promise.race([out.flush(), new Promise((done) => setTimeout(done, 1_000))])
  process.exit()
}

async function live<C extends { readonly logLevel: LogLevel }>(
  app: App<C>,
  out: ProcessLog,
): Promise<number> {
  const { log } = out
  const fault = fatalFault(log)
  const stop = stopSignal()
  // Neither promises nor signal handlers keep a process alive.
  const alive = setInterval(() => undefined, 2_147_483_647)
  try {
    const config = app.config.parse(process.env)
    out.setLevel(config.logLevel)
    levelSignals(out, config.logLevel)
    for (const warning of app.config.warnings(process.env)) log.warn({}, warning)
    const service = await Promise.race([app.start(config, log, stop.signal), fault, cancelled(stop.signal)])
    log.info({}, 'ready')
    setImmediate(keepHeapSmall)
    const reason = await Promise.race([stop.reason, fault, ended(service)])
    log.info({ reason }, 'stopping')
    await drain(service, app.drainMs ?? 3_000, log)
    log.info({ reason }, 'stopped')
    return 0
  } catch (thrown) {
    if (thrown === stop.signal.reason) return 0
    const err = NsmError.from(thrown)
    log.error({ code: err.code, err: err.message, stack: err.stack }, 'fatal')
    return 1
  } finally {
    clearInterval(alive)
  }
}

function stopSignal(): { signal: AbortSignal; reason: Promise<string> } {
  const controller = new AbortController()
  const reason = new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) {
      process.on(name, () => {
        // A second one: whoever sends it does not want to wait.
        if (controller.signal.aborted) process.exit(1)
        controller.abort(new NsmError('CANCELLED', `stopped by ${name}`))
        resolve(name)
      })
    }
  })
  return { signal: controller.signal, reason }
}

/** Rejects some time after the signal, for a start that does not heed it. */
async function cancelled(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => setTimeout(reject, 1_000, signal.reason), { once: true })
  })
}

async function ended(service: Service): Promise<string> {
  if (service.ended === undefined) return new Promise(() => undefined)
  await service.ended
  return 'work done'
}

async function drain(service: Service, ms: number, log: Logger): Promise<void> {
  const signal = AbortSignal.timeout(ms)
  const late = new Promise<'late'>((done) => {
    // What honours the signal gets a moment to say so.
    signal.addEventListener('abort', () => setTimeout(done, 200, 'late'), { once: true })
  })
  try {
    const result = await Promise.race([service.close(signal), late])
    if (result === 'late') log.warn({ ms }, 'not everything was closed in time')
  } catch (err) {
    log.warn({ err: NsmError.from(err).message }, 'not everything was closed')
  }
}

function levelSignals(out: ProcessLog, configured: LogLevel): void {
  process.on('SIGUSR1', () => out.setLevel('trace'))
  process.on('SIGUSR2', () => out.setLevel(configured))
}

/**
 * A rejection that nobody handles, or an 'error' of one socket or stream that nobody listens to, harms one call and is logged;
 * any other exception may have left state half changed: rejects, and the process ends.
 */
async function fatalFault(log: Logger): Promise<never> {
  process.on('unhandledRejection', (err) => log.error({ err }, 'unhandled rejection'))
  return new Promise((_, reject) => {
    process.on('uncaughtException', (err) => {
      if (isConnectionFault(err)) log.error({ err }, 'unhandled connection fault')
      else reject(err)
    })
  })
}

function isConnectionFault(err: Error): boolean {
  const { code = '' } = err as NodeJS.ErrnoException
  return (
    ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNREFUSED', 'ECONNABORTED', 'EHOSTUNREACH'].includes(code) ||
    /^(?:ERR_HTTP2|ERR_SSL|ERR_TLS|ERR_STREAM|HPE)_/.test(code)
  )
}

/**
 * V8 never gives grown young space back, and lets old space double before it looks for what is garbage: half of a daemon's memory.
 * Collecting sooner costs no time that could be measured; as command line flags these would cost 30 ms of start.
 */
function keepHeapSmall(): void {
  v8.setFlagsFromString('--semi-space-growth-factor=1')
  v8.setFlagsFromString('--optimize-for-size')
}

import type { Clock } from '@nsm/sdk/clock.js'
import { sleep } from '@nsm/sdk/sleep.js'
import type { Container } from '../manifest/objects.ts'
import { backOff, type BackOffOptions } from './back-off.ts'
import { watchProbe, type RunProbe } from './probe.ts'
import type { Exit, RunningProcess } from './runner.ts'

export type ContainerKind = 'init' | 'sidecar' | 'main'

export interface ContainerStatus {
  readonly name: string
  readonly kind: ContainerKind
  readonly state: 'waiting' | 'running' | 'terminated'
  /** Why it waits or ended, in the words of Kubernetes; empty when there is nothing to say. */
  readonly reason: string
  /** Says more, for people. */
  readonly message: string
  /** The startup probe has passed. */
  readonly started: boolean
  readonly ready: boolean
  readonly restarts: number
  readonly exitCode?: number
}

export interface ContainerOptions {
  readonly spec: Container
  readonly kind: ContainerKind
  /** Which ends are followed by a new start. */
  readonly restart: 'Always' | 'OnFailure' | 'Never'
  /** Between restarts; default: half a second, doubling to 30 s. */
  readonly pauses?: BackOffOptions
  readonly clock: Clock
  readonly runProbe: RunProbe
  launch(): RunningProcess
  /** Called after each change of `status`. */
  onChange(): void
}

const restartPauses = { firstMs: 500, maxMs: 30_000, resetMs: 600_000 }

/** One container over all its restarts, as its restart policy wants them. */
export class ManagedContainer {
  /** Settles when it won't be started again. */
  readonly finished: Promise<Exit>
  private readonly options: ContainerOptions
  private readonly stopping = new AbortController()
  private running: RunningProcess | undefined
  private current: ContainerStatus

  /** Starts it. */
  constructor(options: ContainerOptions) {
    this.options = options
    const { spec, kind } = options
    const begin = { state: 'waiting', reason: 'ContainerCreating', message: '' } as const
    this.current = { name: spec.name, kind, ...begin, started: false, ready: false, restarts: 0 }
    this.finished = this.live()
  }

  get status(): ContainerStatus {
    return this.current
  }

  get process(): RunningProcess | undefined {
    return this.running
  }

  /** SIGTERM, and SIGKILL after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.stopping.abort()
    this.running?.signal('SIGTERM')
    const disarm = this.options.clock.after(graceMs, () => this.running?.signal('SIGKILL'))
    await this.finished
    disarm()
  }

  private async live(): Promise<Exit> {
    const { clock, restart } = this.options
    const { signal } = this.stopping
    const pauses = backOff(this.options.pauses ?? restartPauses)
    for (;;) {
      const begunMs = clock.now()
      const exit = await this.runOnce()
      const why = { message: exit.error ?? '', exitCode: exit.code, started: false, ready: false }
      const again = restart === 'Always' || (restart === 'OnFailure' && exit.code !== 0)
      if (!signal.aborted && again) {
        this.update({ ...why, state: 'waiting', reason: 'CrashLoopBackOff' })
        await sleep({ clock, signal }, pauses.next(clock.now() - begunMs)).catch(() => undefined)
      }
      if (signal.aborted || !again) {
        this.update({ ...why, state: 'terminated', reason: exit.code === 0 ? 'Completed' : 'Error' })
        return exit
      }
      this.update({ restarts: this.current.restarts + 1 })
    }
  }

  private async runOnce(): Promise<Exit> {
    const { spec } = this.options
    const probing = new AbortController()
    const launched = this.options.launch()
    this.running = launched
    const started = spec.startupProbe === undefined
    this.update({ state: 'running', reason: '', message: '', started, ready: started && isUngated(spec) })
    let fault: string | undefined
    watchAll(this.options, probing.signal, {
      update: (change) => this.update(change),
      fail: (reason) => {
        fault = reason
        launched.signal('SIGKILL')
      },
    })
    const exit = await launched.ended
    probing.abort()
    this.running = undefined
    return fault === undefined ? exit : { ...exit, error: fault }
  }

  private update(change: Partial<ContainerStatus>): void {
    this.current = { ...this.current, ...change }
    this.options.onChange()
  }
}

interface Effects {
  update(change: Partial<ContainerStatus>): void
  /** The container must be killed. */
  fail(reason: string): void
}

/** Startup first; readiness and liveness once it has passed. */
function watchAll({ spec, clock, runProbe }: ContainerOptions, signal: AbortSignal, effects: Effects): void {
  const { startupProbe, readinessProbe, livenessProbe } = spec
  const watch = (
    probe: typeof startupProbe,
    within: AbortSignal,
    onResult: (healthy: boolean, reason: string) => void,
  ): void => {
    if (probe === undefined) return
    // Ends with the signal, by a rejection that says nothing else.
    watchProbe(probe, { clock, signal: within, run: runProbe, onResult }).catch(() => undefined)
  }
  const afterStart = (): void => {
    watch(readinessProbe, signal, (ready, message) => effects.update({ ready, message }))
    watch(livenessProbe, signal, (alive, reason) => {
      if (!alive) effects.fail(`liveness probe failed: ${reason}`)
    })
  }
  if (startupProbe === undefined) return afterStart()
  const starting = new AbortController()
  watch(startupProbe, AbortSignal.any([signal, starting.signal]), (up, reason) => {
    starting.abort()
    if (!up) return effects.fail(`startup probe failed: ${reason}`)
    effects.update({ started: true, ready: isUngated(spec) })
    afterStart()
  })
}

function isUngated({ readinessProbe }: Container): boolean {
  return readinessProbe === undefined
}

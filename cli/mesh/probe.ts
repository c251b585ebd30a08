import { request } from 'node:http'
import type { Clock } from '@nsm/sdk/clock.js'
import { sleep } from '@nsm/sdk/sleep.js'
import type { Probe } from '../manifest/objects.ts'

/** Runs one probe once; undefined = it succeeded, otherwise why not. Never rejects. */
export type RunProbe = (probe: Probe, timeoutMs: number, signal: AbortSignal) => Promise<string | undefined>

/** What the pod gives to a probe of one of its containers. */
export interface ProbeTarget {
  readonly podIp: string
  /** Port names of the container. */
  readonly ports: ReadonlyMap<string, number>
  /** Runs a command beside the container's and answers its exit code. */
  exec(argv: readonly string[], signal: AbortSignal): Promise<number>
}

export interface Watch {
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly run: RunProbe
  /** After `successThreshold` successes in a row, and after `failureThreshold` failures in a row. */
  onResult(healthy: boolean, reason: string): void
}

/** How often a probe is tried during its first period, so that a quick start isn't waited for. Failures don't count then. */
const eagerMs = 50

export function prober(target: ProbeTarget): RunProbe {
  return async (probe, timeoutMs, signal) => {
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    try {
      if (probe.exec !== undefined) {
        const code = await target.exec(probe.exec.command, bounded)
        return code === 0 ? undefined : `${probe.exec.command.join(' ')} ended with ${code}`
      }
      const { port = 80, path = '/', host = target.podIp } = probe.httpGet ?? {}
      const number = typeof port === 'number' ? port : target.ports.get(port)
      if (number === undefined) return `the container has no port named ${port}`
      return await httpGet({ host, port: number, path }, bounded)
    } catch (err) {
      return err instanceof Error ? err.message : String(err)
    }
  }
}

/** Repeats a probe at its period until the signal aborts; tells changes to what the thresholds say. */
export async function watchProbe(probe: Probe, watch: Watch): Promise<void> {
  const { clock, signal } = watch
  const { periodSeconds = 10, timeoutSeconds = 1, initialDelaySeconds = 0 } = probe
  const judge = judgement(probe, (healthy, reason) => watch.onResult(healthy, reason))
  await sleep({ clock, signal }, initialDelaySeconds * 1_000)
  const eagerUntil = clock.now() + periodSeconds * 1_000
  for (let eager = true; ;) {
    const reason = await watch.run(probe, timeoutSeconds * 1_000, signal)
    signal.throwIfAborted()
    eager &&= reason !== undefined && clock.now() < eagerUntil
    if (!eager) judge(reason)
    await sleep({ clock, signal }, eager ? eagerMs : periodSeconds * 1_000)
  }
}

/** Counts results in a row and tells when a threshold is reached. */
function judgement(probe: Probe, tell: Watch['onResult']): (reason: string | undefined) => void {
  const { successThreshold = 1, failureThreshold = 3 } = probe
  let good = 0
  let bad = 0
  return (reason) => {
    const healthy = reason === undefined
    good = healthy ? good + 1 : 0
    bad = healthy ? 0 : bad + 1
    if (good === successThreshold) tell(true, '')
    if (bad === failureThreshold) tell(false, reason ?? '')
  }
}

async function httpGet(
  target: { host: string; port: number; path: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const req = request({ ...target, agent: false, signal }, (res) => {
      const { statusCode = 0 } = res
      res.on('error', () => undefined)
      res.destroy()
      resolve(statusCode >= 200 && statusCode < 400 ? undefined : `HTTP status ${statusCode}`)
    })
    req.once('error', reject)
    req.end()
  })
}

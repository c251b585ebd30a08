import { join } from 'node:path'
import type { Clock } from '@nsm/sdk/clock.js'
import { ManagedContainer, type ContainerStatus } from './container.ts'
import type { Programs } from './container-command.ts'
import { logFile } from './log-file.ts'
import { prober } from './probe.ts'
import type { Bind, RunningProcess, Sandbox } from './runner.ts'

/** A process of the mesh itself. */
export interface PartOptions {
  /** Also its pod name in its identity and the name of its log. */
  readonly name: string
  /** Bundle, as `nsmgr`. */
  readonly program: string
  readonly env: Readonly<Record<string, string>>
  readonly binds: readonly Bind[]
  readonly sandbox: Sandbox
  /** Where it serves `/readyz`. */
  readonly ops: { readonly host: string; readonly port: number }
  readonly programs: Programs
  readonly logFolder: string
  readonly clock: Clock
  /** Called with each new process, before it can have asked for anything. */
  onLaunch(name: string, process: RunningProcess): void
  onChange(): void
}

export interface Part {
  readonly name: string
  readonly status: ContainerStatus
  stop(graceMs: number): Promise<void>
}

/** Starts one part and keeps it running: a new process whenever it ends. */
export function startPart(options: PartOptions): Part {
  const { name, programs, ops } = options
  const log = logFile(join(options.logFolder, `${name}.log`))
  const httpGet = { path: '/readyz', port: ops.port, host: ops.host }
  const container = new ManagedContainer({
    spec: {
      name,
      // Nothing is wrong with a part that waits for another one: it is never killed for that.
      startupProbe: { httpGet, periodSeconds: 1, failureThreshold: 100_000 },
      readinessProbe: { httpGet, periodSeconds: 1 },
    },
    kind: 'main',
    restart: 'Always',
    pauses: { firstMs: 100, maxMs: 10_000, resetMs: 10_000 },
    clock: options.clock,
    runProbe: prober({ podIp: ops.host, ports: new Map(), exec: async () => 125 }),
    launch: () => {
      const command = {
        argv: programs.argv(options.program),
        env: { ...programs.env, ...options.env },
        root: { binds: [...programs.binds, ...options.binds] },
      }
      const process = options.sandbox.run(command, (chunk) => log.write(chunk))
      options.onLaunch(name, process)
      return process
    },
    onChange: () => options.onChange(),
  })
  return {
    name,
    get status() {
      return container.status
    },
    stop: async (graceMs) => {
      await container.stop(graceMs)
      await log.close()
    },
  }
}

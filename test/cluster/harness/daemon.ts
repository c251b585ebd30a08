import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { cgroupFolders, killProcesses, makeCgroup, processesOf, signal } from './cgroups.ts'
import { waitFor } from './wait-for.ts'

/** A process that outlives the harness. Its control group is how it is found again: no file of numbers can be out of date. */
export interface Daemon {
  readonly name: string
  /** Of its own, without leading slash. */
  readonly cgroup: string
  /** Where its output goes. */
  readonly log: string
  readonly argv: readonly string[]
  readonly env?: NodeJS.ProcessEnv
}

/** Starts the process in its control group, unless it runs already, and waits until it is in it or has ended. */
export async function startDaemon(daemon: Daemon): Promise<void> {
  if (isRunning(daemon)) return
  makeCgroup(daemon.cgroup)
  mkdirSync(path.dirname(daemon.log), { recursive: true })
  const log = openSync(daemon.log, 'a')
  const enter = 'for group in $1; do echo 0 > "$group/cgroup.procs"; done; shift; exec "$@"'
  const groups = cgroupFolders(daemon.cgroup).join(' ')
  const child = spawn('sh', ['-c', enter, 'sh', groups, ...daemon.argv], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
    ...(daemon.env === undefined ? {} : { env: daemon.env }),
  })
  closeSync(log)
  child.unref()
  while (!isRunning(daemon) && child.exitCode === null && child.signalCode === null) await pause(5)
}

/** The processes of the daemon itself, without those that it has started for others. */
function ownProcesses(daemon: Daemon): number[] {
  return processesOf(daemon.cgroup).filter((pid) => !commandOf(pid).startsWith('containerd-shim'))
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return ''
  }
}

export function isRunning(daemon: Daemon): boolean {
  return ownProcesses(daemon).length > 0
}

/** Ends the process as a service manager would: SIGTERM, after 20 s SIGKILL. */
export async function stopDaemon(daemon: Daemon): Promise<void> {
  for (const pid of ownProcesses(daemon)) signal(pid, 'SIGTERM')
  await waitFor(`${daemon.name} to stop`, () => !isRunning(daemon), 20_000).catch(async () =>
    killDaemon(daemon),
  )
}

/** Ends the process without warning; what it has started for others lives on. */
export async function killDaemon(daemon: Daemon): Promise<void> {
  await killProcesses(daemon.cgroup, (pid) => !commandOf(pid).startsWith('containerd-shim'))
}

/** Waits for `ready`; fails at once, with the end of its log, when the process ends before. */
export async function daemonReady(
  daemon: Daemon,
  ready: (signal: AbortSignal) => Promise<boolean>,
): Promise<void> {
  let ended = false
  await waitFor(`${daemon.name} to be ready`, async (signal) => {
    ended = !isRunning(daemon)
    return ended || ready(signal)
  }).catch((err: unknown) => {
    throw new Error(`${String(err)}\n${logEnd(daemon)}`)
  })
  if (ended) throw new Error(`${daemon.name} has ended:\n${logEnd(daemon)}`)
}

function logEnd(daemon: Daemon): string {
  return `${readFileSync(daemon.log, 'utf8').slice(-3_000)}\n(${daemon.log})`
}

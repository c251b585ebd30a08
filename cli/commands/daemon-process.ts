import { spawn, type ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { NsmError } from '@nsm/sdk/errors.js'
import type { DaemonEvent } from '../mesh/daemon.ts'
import type { MeshOptions } from '../mesh/options.ts'
import { runnerIn } from '../mesh/programs.ts'
import { cleanFolder } from '../mesh/state.ts'

/** A mesh whose daemon is a child of this process. */
export interface StartedMesh {
  /** Ends when the daemon has ended, however; rejects when it wasn't asked to. */
  readonly ended: Promise<void>
  /** Ends the mesh and everything in it. */
  stop(): Promise<void>
  /** Leaves the mesh running when this process ends. */
  detach(): void
}

/** CAP_NET_ADMIN and CAP_SYS_ADMIN (capabilities(7)). */
const neededCapabilities = { CAP_NET_ADMIN: 12n, CAP_SYS_ADMIN: 21n }

/** Starts the daemon in a network namespace of its own; resolves when the mesh is up. */
export async function startDaemon(
  options: MeshOptions,
  { program, detached, signal }: { program: string; detached: boolean; signal: AbortSignal },
  onProgress: (text: string) => void,
): Promise<StartedMesh> {
  await checkPrivileges()
  const { NODE_EXTRA_CA_CERTS: _unwanted, ...env } = process.env
  const child = spawn(
    runnerIn(options.bundles),
    ['netns', '--', process.execPath, program, 'daemon', JSON.stringify(options)],
    // A session of its own: Ctrl-C is for this process, which ends the mesh in good order.
    { detached: true, stdio: [detached ? 'ignore' : 'pipe', 'pipe', 'pipe'], env },
  )
  child.stdin?.on('error', () => undefined)
  const complaint = collect(child)
  let asked = false
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, name) => {
      if (asked || code === 0) resolve()
      else reject(new NsmError('ABORTED', `the mesh ended by itself (${name ?? code})${complaint()}`))
    })
  })
  // Whoever waits for it hears of it; nobody must.
  ended.catch(() => undefined)
  const stop = async (): Promise<void> => {
    asked = true
    child.kill('SIGTERM')
    await ended.catch(() => undefined)
    await cleanFolder(options.folder)
  }
  signal.addEventListener('abort', () => void stop(), { once: true })
  await upOf(child, ended, onProgress)
  return {
    ended: ended.finally(async () => cleanFolder(options.folder)),
    stop,
    detach: () => {
      child.stdout?.destroy()
      child.stderr?.destroy()
      child.unref()
    },
  }
}

async function upOf(
  child: ChildProcess,
  ended: Promise<void>,
  onProgress: (text: string) => void,
): Promise<void> {
  const { stdout } = child
  if (stdout === null) throw new NsmError('INTERNAL', 'the daemon has no output')
  const up = new Promise<void>((resolve, reject) => {
    createInterface({ input: stdout }).on('line', (line) => {
      const message = JSON.parse(line) as DaemonEvent
      if (message.event === 'progress') onProgress(message.text)
      if (message.event === 'up') resolve()
      if (message.event === 'failed') reject(new NsmError('UNAVAILABLE', message.reason))
    })
  })
  const gone = ended.then(() => {
    throw new NsmError('CANCELLED', 'the mesh was ended while it started')
  })
  await Promise.race([up, gone])
}

/** What a process says on standard error, bounded. */
function collect(child: ChildProcess): () => string {
  let text = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString()).slice(-2_000)
  })
  return () => (text === '' ? '' : `: ${text.trim()}`)
}

/** Throws PERMISSION_DENIED when namespaces can't be made here. */
async function checkPrivileges(): Promise<void> {
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '')
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1]
  if (effective === undefined) throw new NsmError('FAILED_PRECONDITION', 'the local mesh needs Linux')
  const has = BigInt(`0x${effective}`)
  const missing = Object.entries(neededCapabilities).filter(([, bit]) => ((has >> bit) & 1n) === 0n)
  if (missing.length === 0) return
  const names = missing.map(([name]) => name).join(' and ')
  throw new NsmError(
    'PERMISSION_DENIED',
    `the local mesh makes network namespaces and needs ${names}: run it as root, with sudo`,
  )
}

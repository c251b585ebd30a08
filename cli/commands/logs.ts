import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { NsmError } from '@nsm/sdk/errors.js'

const pollMs = 200
const chunkBytes = 65_536

/** What log is wanted: of a part (`nsmgr-node-1`, `mesh`), or of a pod's container. */
export interface WantedLog {
  readonly name: string
  readonly namespace?: string
  readonly container?: string
}

interface ContainerLog {
  readonly namespace: string
  readonly pod: string
  readonly container: string
  readonly file: string
}

/** Path of a log in this folder; NOT_FOUND says what there is instead. */
export async function findLog(folder: string, wanted: WantedLog): Promise<string> {
  const files = await readdir(folder).catch((): string[] => [])
  if (files.includes(`${wanted.name}.log`)) return join(folder, `${wanted.name}.log`)
  const [name = wanted.name, namespace = wanted.namespace] = wanted.name.split('/').toReversed()
  const logs = files
    .flatMap((file) => containerLog(file) ?? [])
    .filter((log) => log.pod === name && (namespace ?? log.namespace) === log.namespace)
  const fitting = logs.filter((log) => (wanted.container ?? log.container) === log.container)
  const [only] = fitting
  if (only !== undefined && fitting.length === 1) return join(folder, only.file)
  throw new NsmError('NOT_FOUND', whichLog(name, logs, files))
}

function whichLog(name: string, logs: readonly ContainerLog[], files: readonly string[]): string {
  if (logs.length === 0) {
    const parts = files.filter((file) => /^[^_]+\.log$/.test(file)).map((file) => file.slice(0, -4))
    return `no log of ${name}; parts of the mesh are: ${parts.join(', ') || 'none'}`
  }
  const places = new Set(logs.map((log) => log.namespace))
  if (places.size > 1) return `say which ${name} with -n: there is one in each of ${[...places].join(', ')}`
  return `choose a container of ${name} with -c: ${logs.map((log) => log.container).join(', ')}`
}

/** `demo_client-1_sidecar.log`: none of the three may hold an underscore. */
function containerLog(file: string): ContainerLog | undefined {
  const [, namespace, pod, container] = /^([^_]+)_([^_]+)_([^_]+)\.log$/.exec(file) ?? []
  if (namespace === undefined || pod === undefined || container === undefined) return undefined
  return { namespace, pod, container, file }
}

/** Writes a log, and with `follow` what comes to it, until the signal aborts; heeds that a full log is put aside. */
export async function showLog(
  path: string,
  follow: AbortSignal | undefined,
  write: (chunk: Buffer) => void,
): Promise<void> {
  for (;;) {
    const file = await open(path)
    try {
      await copy(file, write)
      if (follow === undefined || !(await grown(file, path, follow, write))) return
    } finally {
      await file.close()
    }
  }
}

async function copy(file: FileHandle, write: (chunk: Buffer) => void): Promise<void> {
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(chunkBytes))
    if (bytesRead === 0) return
    write(buffer.subarray(0, bytesRead))
  }
}

/** Copies what comes; true when another file has taken the log's place, false when nobody wants more. */
async function grown(
  file: FileHandle,
  path: string,
  signal: AbortSignal,
  write: (chunk: Buffer) => void,
): Promise<boolean> {
  const { ino } = await file.stat()
  while (!signal.aborted) {
    await delay(pollMs, undefined, { signal }).catch(() => undefined)
    await copy(file, write)
    const now = await stat(path).catch(() => undefined)
    if (now !== undefined && now.ino !== ino) return true
  }
  return false
}

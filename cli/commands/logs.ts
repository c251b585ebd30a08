import { open, readdir, stat, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { NsmError } from '@nsm/sdk/errors.js'

const pollMs = 200
const chunkBytes = 65_536

/** Finds the log of a part (`nsmgr-node-1`, `mesh`) or of a pod's container; the file's path. */
export async function findLog(
  folder: string,
  wanted: { readonly name: string; readonly namespace: string; readonly container?: string },
): Promise<string> {
  const { name, namespace, container } = wanted
  const files = await readdir(folder).catch((): string[] => [])
  if (files.includes(`${name}.log`)) return join(folder, `${name}.log`)
  const prefix = `${namespace}_${name}_`
  const ofPod = files.filter((file) => file.startsWith(prefix) && file.endsWith('.log'))
  const containers = ofPod.map((file) => file.slice(prefix.length, -'.log'.length))
  const [only] = containers
  const chosen = container ?? (containers.length === 1 ? only : undefined)
  if (chosen !== undefined && containers.includes(chosen)) return join(folder, `${prefix}${chosen}.log`)
  if (containers.length > 0)
    throw new NsmError(
      'NOT_FOUND',
      `choose a container of ${namespace}/${name} with -c: ${containers.join(', ')}`,
    )
  const parts = files
    .filter((file) => file.endsWith('.log') && !file.includes('_'))
    .map((file) => file.slice(0, -4))
  throw new NsmError(
    'NOT_FOUND',
    `no log of ${namespace}/${name}; parts of the mesh are: ${parts.join(', ') || 'none'}`,
  )
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

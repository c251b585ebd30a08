import { open, readFile, rename, type FileHandle } from 'node:fs/promises'

/** A file that keeps the newest output of one program: at most `maxBytes`, and as much again in `<path>.1`. */
export interface LogFile {
  readonly path: string
  /** Never throws; when the disk is slower than the program, or full, output is dropped. */
  write(chunk: Buffer): void
  /** Resolves when everything is on its way to the disk. */
  close(): Promise<void>
}

const maxPendingBytes = 1024 * 1024

/** Opens a log, after what is there already. */
export function logFile(path: string, maxBytes: number = 4 * 1024 * 1024): LogFile {
  let file: FileHandle | undefined
  let size = 0
  let pending: Buffer[] = []
  let pendingBytes = 0
  let writing: Promise<void> | undefined

  async function flush(): Promise<void> {
    while (pending.length > 0) {
      const chunk = Buffer.concat(pending)
      pending = []
      pendingBytes = 0
      try {
        await append(chunk)
      } catch {
        // A full disk costs the log, not the mesh.
      }
    }
    writing = undefined
  }

  async function append(chunk: Buffer): Promise<void> {
    if (file !== undefined && size + chunk.length > maxBytes) {
      await file.close()
      file = undefined
      await rename(path, `${path}.1`)
    }
    if (file === undefined) {
      file = await open(path, 'a', 0o600)
      size = (await file.stat()).size
    }
    await file.write(chunk)
    size += chunk.length
  }

  return {
    path,
    write(chunk) {
      if (pendingBytes + chunk.length > maxPendingBytes) return
      pending.push(chunk)
      pendingBytes += chunk.length
      writing ??= flush()
    },
    async close() {
      await writing
      await file?.close()
      file = undefined
    },
  }
}

/** The end of a log; empty when there is none. */
export async function lastLines(path: string, count: number): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return text.trimEnd().split('\n').slice(-count).join('\n')
}

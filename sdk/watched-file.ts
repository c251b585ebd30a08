import { watch, type FSWatcher } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Logger } from './log.ts'

export interface WatchedFileOptions {
  readonly log: Logger
  /** A longer file is not taken over. Default 64 KiB. */
  readonly maxBytes?: number
  /** How long to wait for more changes after one; default 20 ms. */
  readonly settleMs?: number
}

/** Stops the watch; nothing is taken over afterwards. */
export interface WatchedFile {
  close(): void
}

interface Folder {
  readonly path: string
  readonly identity: string
}

/**
 * Hands `take` the text of a file now and after each change; undefined while there is no such file. The file and the folders
 * above it may come and go. A file that cannot be read, is too long, or that `take` throws at is logged, and what was taken before stays.
 */
export async function watchFile(
  path: string,
  take: (text: string | undefined) => void,
  options: WatchedFileOptions,
): Promise<WatchedFile> {
  const { log, maxBytes = 65_536, settleMs = 20 } = options
  const full = resolve(path)
  let taken: { readonly text: string | undefined } | undefined
  let watched: { readonly folder: Folder; readonly watcher: FSWatcher } | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let reading = Promise.resolve()

  function changed(): void {
    clearTimeout(timer)
    if (closed) return
    timer = setTimeout(() => void look(), settleMs).unref()
  }

  function look(): Promise<void> {
    reading = reading.then(async () => {
      try {
        await follow()
        const text = await readBounded(full, maxBytes)
        if (closed || (taken !== undefined && taken.text === text)) return
        take(text)
        taken = { text }
      } catch (err) {
        log.warn({ path: full, err: String(err) }, 'file not taken over')
      }
    })
    return reading
  }

  /** Watches the nearest folder that is there: the file's own, since Kubernetes replaces a link beside it, or one above. */
  async function follow(): Promise<void> {
    for (;;) {
      const folder = await nearestFolder(dirname(full))
      if (closed || folder.identity === watched?.folder.identity) return
      watched?.watcher.close()
      const watcher = watch(folder.path, { persistent: false }, changed)
      watcher.on('error', (err) => {
        log.warn({ path: folder.path, err: err.message }, 'folder no longer watched')
        watcher.close()
        watched = undefined
        changed()
      })
      watched = { folder, watcher }
    }
  }

  await look()
  return {
    close() {
      closed = true
      clearTimeout(timer)
      watched?.watcher.close()
    },
  }
}

async function nearestFolder(path: string): Promise<Folder> {
  const info = await stat(path, { bigint: true }).catch(() => undefined)
  if (info?.isDirectory() === true) return { path, identity: `${path} ${info.dev} ${info.ino}` }
  const above = dirname(path)
  if (above === path) throw new Error(`${path} is no folder`)
  return nearestFolder(above)
}

async function readBounded(path: string, maxBytes: number): Promise<string | undefined> {
  let file
  try {
    file = await open(path)
  } catch (err) {
    if (['ENOENT', 'ENOTDIR'].includes((err as NodeJS.ErrnoException).code ?? '')) return undefined
    throw err
  }
  try {
    const info = await file.stat()
    if (!info.isFile()) throw new Error('not a regular file')
    if (info.size > maxBytes) throw new Error(`${info.size} bytes, at most ${maxBytes} are read`)
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

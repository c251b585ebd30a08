import { open } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { NsmError } from './errors.ts'
import { followedFolder } from './followed-folder.ts'
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

/**
 * Hands `take` the text of a file now and after each change; undefined while there is no such file. The file and the folders
 * above it may come and go. A file that cannot be read, is too long, or that `take` throws at is logged, and what was taken before stays.
 */
export async function watchFile(
  path: string,
  take: (text: string | undefined) => void,
  options: WatchedFileOptions,
): Promise<WatchedFile> {
  const { watched, first } = watching([path], ([text]) => take(text), options)
  await first.catch(() => undefined)
  return watched
}

/**
 * Hands `take` the texts of files that belong together, in order, now and after any of them has changed. One that is not there
 * is like one that cannot be read: what was taken before stays. Rejects when nothing can be taken at first.
 */
export async function watchFiles<const P extends readonly [string, ...string[]]>(
  paths: P,
  take: (texts: { readonly [I in keyof P]: string }) => void,
  options: WatchedFileOptions,
): Promise<WatchedFile> {
  const takeAll = (texts: readonly (string | undefined)[]): void => {
    const missing = texts.indexOf(undefined)
    if (missing >= 0) throw new NsmError('NOT_FOUND', `there is no file ${paths[missing]}`)
    take(texts as { readonly [I in keyof P]: string })
  }
  const { watched, first } = watching(paths, takeAll, options)
  try {
    await first
  } catch (err) {
    watched.close()
    throw err
  }
  return watched
}

/** `first` settles with the first reading. */
function watching(
  paths: readonly string[],
  take: (texts: readonly (string | undefined)[]) => void,
  { log, maxBytes = 65_536, settleMs = 20 }: WatchedFileOptions,
): { readonly watched: WatchedFile; readonly first: Promise<void> } {
  const files = paths.map((path) => resolve(path))
  // The folder, not the file: Kubernetes replaces a link beside it.
  const folders = [...new Set(files.map((file) => dirname(file)))].map((folder) =>
    followedFolder(folder, changed, log),
  )
  let taken: readonly (string | undefined)[] | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let reading: Promise<void>

  function changed(): void {
    clearTimeout(timer)
    if (closed) return
    timer = setTimeout(() => {
      reading = reading.then(read).catch(notTaken)
    }, settleMs).unref()
  }

  async function read(): Promise<void> {
    await Promise.all(folders.map((folder) => folder.follow()))
    const texts = await Promise.all(files.map((file) => readBounded(file, maxBytes)))
    if (closed || taken?.every((text, i) => text === texts[i]) === true) return
    take(texts)
    taken = texts
  }

  function notTaken(err: unknown): void {
    log.warn({ path: files.join(', '), err: String(err) }, 'file not taken over')
  }

  const first = read()
  reading = first.catch(notTaken)
  const close = (): void => {
    closed = true
    clearTimeout(timer)
    for (const folder of folders) folder.close()
  }
  return { watched: { close }, first }
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
    if (!info.isFile()) throw new Error(`${path} is not a regular file`)
    if (info.size > maxBytes) throw new Error(`${path} has ${info.size} bytes, at most ${maxBytes} are read`)
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

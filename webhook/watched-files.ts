import type { Logger } from '@nsm/sdk/log.js'
import { watch, type FSWatcher } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Stops watching. */
export interface Watch {
  readonly close: () => void
}

const maxBytes = 16 * 1_048_576
/** Files that belong together are replaced one after another: wait for the last. */
const settleMs = 50

/**
 * Reads files together now and whenever one of them, or a link to it, is replaced. `take` gets their texts in order; when it throws,
 * or a file cannot be read, that is logged and what was taken before stays. Rejects when the first reading fails.
 */
export async function watchFiles<const P extends readonly [string, ...string[]]>(
  paths: P,
  log: Logger,
  take: (texts: { readonly [I in keyof P]: string }) => void,
): Promise<Watch> {
  let taken = ''
  const read = async (): Promise<void> => {
    const texts = await Promise.all(paths.map(readBounded))
    const all = texts.join('\0')
    if (all === taken) return
    take(texts as unknown as { readonly [I in keyof P]: string })
    taken = all
  }
  let timer: NodeJS.Timeout | undefined
  let reading: Promise<void> = Promise.resolve()
  const changed = (): void => {
    clearTimeout(timer)
    timer = setTimeout(() => {
      reading = reading
        .then(read)
        .catch((err: unknown) => log.warn({ paths, err: String(err) }, 'file not taken over'))
    }, settleMs)
    timer.unref()
  }
  // The folder is watched, not the file: Kubernetes replaces a link beside it.
  const watchers = [...new Set(paths.map((path) => dirname(path)))].map((folder): FSWatcher => {
    const watcher = watch(folder, { persistent: false }, changed)
    watcher.on('error', (err) => log.warn({ folder, err: err.message }, 'folder no longer watched'))
    return watcher
  })
  const close = (): void => {
    clearTimeout(timer)
    for (const watcher of watchers) watcher.close()
  }
  try {
    await read()
  } catch (err) {
    close()
    throw err
  }
  return { close }
}

async function readBounded(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > maxBytes) throw new Error(`${path} has ${size} bytes, more than ${maxBytes}`)
  return readFile(path, 'utf8')
}

import { watch, type FSWatcher } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Logger } from './log.ts'

/** Watches a folder that may come and go, and so may those above it. */
export interface FollowedFolder {
  /** Watches the folder, or the nearest one above it that is there. To be called again after each change. */
  follow(): Promise<void>
  /** `changed` is not called any more. */
  close(): void
}

interface Found {
  readonly path: string
  readonly identity: string
}

/** Calls `changed` whenever something may have changed in the folder, or where it should be. */
export function followedFolder(path: string, changed: () => void, log: Logger): FollowedFolder {
  let watched: { readonly folder: Found; readonly watcher: FSWatcher } | undefined
  let closed = false

  return {
    async follow() {
      for (;;) {
        const folder = await nearestFolder(path)
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
    },
    close() {
      closed = true
      watched?.watcher.close()
    },
  }
}

async function nearestFolder(path: string): Promise<Found> {
  const info = await stat(path, { bigint: true }).catch(() => undefined)
  if (info?.isDirectory() === true) return { path, identity: `${path} ${info.dev} ${info.ino}` }
  const above = dirname(path)
  if (above === path) throw new Error(`${path} is no folder`)
  return nearestFolder(above)
}

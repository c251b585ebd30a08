import type { Logger } from '@nsm/sdk/log.js'
import type { Checks } from '@nsm/sdk/process/checks.js'
import { watchFile } from '@nsm/sdk/watched-file.js'

export interface LeaveOptions {
  readonly log: Logger
  /** Fails from when everything is gone. */
  readonly ready: Checks
  /** Closes all connections and takes no more; answers how many. */
  readonly leave: () => Promise<number>
  /** Removes the interfaces that no connection had. */
  readonly removeLinks: () => Promise<void>
}

/**
 * Leaves for good once the file says `true`, such as an annotation of the pod that Kubernetes shows as a file. Whoever removes the
 * installation sees by the readiness when it is done. Without a path nothing happens.
 */
export async function followLeaveFile(
  path: string | undefined,
  { log, ready, leave, removeLinks }: LeaveOptions,
): Promise<{ close(): void }> {
  if (path === undefined) return { close: () => undefined }
  let isLeaving = false

  async function depart(): Promise<void> {
    log.info({ path }, 'leaving for good: connections are closed')
    const connections = await leave()
    await removeLinks()
    ready.add('leaving', () => 'connections are closed and interfaces removed: this forwarder has left')
    log.info({ connections }, 'left')
  }

  return watchFile(
    path,
    (text) => {
      if (isLeaving || text?.trim() !== 'true') return
      isLeaving = true
      depart().catch((err: unknown) => log.error({ err: String(err) }, 'interfaces are left'))
    },
    { log },
  )
}

import type { Logger } from '@nsm/sdk/log.js'
import type { Checks } from '@nsm/sdk/process/checks.js'
import { watchFile } from '@nsm/sdk/watched-file.js'

/** Whether this agent will have a successor. */
export interface Departure {
  readonly isLeaving: boolean
  close(): void
}

/**
 * Follows a file that says `true` when the agent is removed for good, such as an annotation of its pod that Kubernetes shows as a file;
 * it is not ready from then on, for whoever removes it to see. Without a path it always has a successor.
 */
export async function followLeaveFile(
  path: string | undefined,
  { ready, log }: { readonly ready: Checks; readonly log: Logger },
): Promise<Departure> {
  if (path === undefined) return { isLeaving: false, close: () => undefined }
  let isLeaving = false
  const take = (text: string | undefined): void => {
    if (isLeaving || text?.trim() !== 'true') return
    isLeaving = true
    ready.add(
      'leaving',
      () => 'this agent is removed for good, and ends when no pod has a volume of it any more',
    )
    log.info({ path }, 'leaving for good')
  }
  const watched = await watchFile(path, take, { log })
  return {
    get isLeaving() {
      return isLeaving
    },
    close: () => watched.close(),
  }
}

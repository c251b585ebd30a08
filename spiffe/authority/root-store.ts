import type { Issued } from './certificates.ts'

/** What is to be kept after looking at what is: undefined leaves it as it is. */
export type RootChange = (kept: readonly Issued[]) => Promise<readonly Issued[] | undefined>

/**
 * Where the roots of a trust domain and their keys are kept, oldest first. Authorities that share one store are one authority:
 * each signs with what it finds there.
 */
export interface RootStore {
  /** @throws SpiffeError FAILED_PRECONDITION when what is kept cannot be used. */
  read(): Promise<readonly Issued[]>
  /**
   * Changes what is kept and answers it. Nobody's change is lost: `change` is called again, with the newest, when somebody else was faster.
   * @throws SpiffeError as `read` does, or UNAVAILABLE
   */
  update(change: RootChange): Promise<readonly Issued[]>
  /** Calls when somebody else may have changed them; the answer stops it. */
  onChange(listener: () => void): () => void
}

/** Keeps them as long as the process lives. */
export function memoryRootStore(): RootStore {
  let kept: readonly Issued[] = []
  return {
    read: async () => kept,
    async update(change) {
      kept = (await change(kept)) ?? kept
      return kept
    },
    onChange: () => () => undefined,
  }
}

export interface Deadline {
  readonly signal: AbortSignal
  /** Takes its timer back. */
  clear(): void
}

/** A signal that aborts after `ms`, or before that with `outer`. */
export function deadline(ms: number, outer?: AbortSignal): Deadline {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(new Error(`no end within ${ms / 1_000} s`)), ms)
  const follow = (): void => controller.abort(outer?.reason)
  if (outer?.aborted === true) follow()
  outer?.addEventListener('abort', follow, { once: true })
  return {
    signal: controller.signal,
    clear() {
      clearTimeout(timer)
      outer?.removeEventListener('abort', follow)
    },
  }
}

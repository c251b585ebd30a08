import { lstat, unlink } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { addon, unwrap } from './addon.ts'
import type { NativeError } from './surface.ts'
import { UnixSocket } from './unix-stream.ts'

export { UnixSocket }

const readable = 1
/** Connections accepted in one turn of the event loop. */
const acceptsAtOnce = 64
/** Rest after running out of descriptors. */
const restMs = 100
/** Waits between attempts to connect while the listener's queue is full. */
const firstWaitMs = 2
const longestWaitMs = 50
/** Attempts to connect: some ten seconds. */
const attempts = 200

/** Connects to a socket file; `/proc/<pid>/fd/N` and paths longer than a socket address work too. */
export async function connectUnix(path: string, signal?: AbortSignal): Promise<UnixSocket> {
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    try {
      return adopt(unwrap(addon().connectUnix(path)))
    } catch (reason) {
      if (codeOf(reason) !== 'EAGAIN' || attempt === attempts) throw reason
    }
    await delay(
      Math.min(firstWaitMs * attempt, longestWaitMs),
      undefined,
      signal === undefined ? {} : { signal },
    )
  }
}

export interface UnixListener {
  readonly path: string
  /** Stops listening and removes the socket file, if it is still the one that was made. Connections stay. */
  close(): Promise<void>
}

export interface ListenUnixOptions {
  /** Of the socket file; default 0o600. */
  readonly mode?: number
  readonly backlog?: number
  /** False = descriptors that callers pass are closed as they come; default true. */
  readonly keepsDescriptors?: boolean
}

/** Listens on a socket file. A stale one, a socket on which nobody answers, is replaced. */
export async function listenUnix(
  path: string,
  options: ListenUnixOptions,
  onConnection: (socket: UnixSocket) => void,
): Promise<UnixListener> {
  const bind = (): number => unwrap(addon().listenUnix(path, options.mode ?? 0o600, options.backlog ?? 511))
  let fd: number
  try {
    fd = bind()
  } catch (reason) {
    if (codeOf(reason) !== 'EADDRINUSE' || !(await isStale(path))) throw reason
    await unlink(path)
    fd = bind()
  }
  const stop = accepting(fd, options.keepsDescriptors ?? true, onConnection)
  const made = await lstat(path, { bigint: true })
  let closing: Promise<void> | undefined
  const close = async (): Promise<void> => {
    stop()
    unwrap(addon().close(fd))
    const found = await lstat(path, { bigint: true }).catch(() => undefined)
    if (found?.ino === made.ino && found.dev === made.dev) await unlink(path).catch(() => undefined)
  }
  return { path, close: () => (closing ??= close()) }
}

async function isStale(path: string): Promise<boolean> {
  if (!(await lstat(path)).isSocket()) return false
  try {
    unwrap(addon().close(unwrap(addon().connectUnix(path))))
    return false
  } catch (reason) {
    return codeOf(reason) === 'ECONNREFUSED'
  }
}

function accepting(
  fd: number,
  keepsDescriptors: boolean,
  onConnection: (socket: UnixSocket) => void,
): () => void {
  let rest: NodeJS.Timeout | undefined
  let stopped = false
  const accept = (): UnixSocket | undefined => {
    if (stopped) return undefined
    try {
      const accepted = unwrap(addon().acceptUnix(fd))
      return accepted < 0 ? undefined : adopt(accepted, keepsDescriptors)
    } catch {
      // Out of descriptors: the connection stays in the queue, and looking again at once would spin.
      poller.watch(0)
      rest = setTimeout(() => poller.watch(readable), restMs)
      return undefined
    }
  }
  const poller = new (addon().Poller)(fd, () => {
    for (let n = 0; n < acceptsAtOnce; n++) {
      const socket = accept()
      if (socket === undefined) return
      onConnection(socket)
    }
  })
  poller.watch(readable)
  return () => {
    stopped = true
    clearTimeout(rest)
    poller.close()
  }
}

function adopt(fd: number, keepsDescriptors = true): UnixSocket {
  try {
    return new UnixSocket(fd, keepsDescriptors)
  } catch (reason) {
    unwrap(addon().close(fd))
    throw reason
  }
}

function codeOf(reason: unknown): string | undefined {
  return (reason as Partial<NativeError>).code
}

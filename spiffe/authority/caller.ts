import { closeSync, fstatSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Duplex } from 'node:stream'

/** An accepted connection on a unix socket, with what the kernel knows of its other end. */
export interface CallerSocket extends Duplex {
  readonly peerCredentials: { readonly pid: number; readonly uid: number; readonly gid: number }
  /** Whether the process that opened the connection has not ended; a later one that has its number is another. */
  peerIsAlive(): boolean
  /** A descriptor of the caller's network namespace, to be closed here; rejects where the kernel cannot tell. */
  peerNetns(): Promise<number>
}

/** A workload as the kernel sees it at the other end of its connection. */
export interface Caller {
  /** 0 when it lives in a pid namespace that cannot be seen from here. */
  readonly pid: number
  readonly uid: number
  readonly gid: number
  /** Inode of its network namespace, where the kernel can tell. */
  readonly netnsInode: bigint | undefined
  /**
   * Whether the process that opened the connection has lived until now. Asked after reading something by its pid: what was read is then about
   * this process, not about a later one that got its number.
   */
  isSame(): Promise<boolean>
}

/** Answers, for each attestation, who is at the other end of a connection that was just accepted. */
export function callerOf(socket: CallerSocket): () => Promise<Caller> {
  const { pid, uid, gid } = socket.peerCredentials
  const first = startTimeOf(pid)
  const isSame = async (): Promise<boolean> => {
    const [began, now] = [await first, await startTimeOf(pid)]
    // Old kernels know a peer by its number alone: that the number has been one process' since it connected makes up for most of that.
    return began !== undefined && began === now && socket.peerIsAlive()
  }
  return async () => ({ pid, uid, gid, netnsInode: await netnsInodeOf(socket), isSame })
}

/** Clock ticks since boot (proc(5), stat field 22); undefined when there is no such process, or only its remains. */
async function startTimeOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => undefined)
  // The name, second field, may hold blanks and brackets: count from its end.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields?.[0] === 'Z' ? undefined : fields?.[19]
}

async function netnsInodeOf(socket: CallerSocket): Promise<bigint | undefined> {
  let fd: number
  try {
    fd = await socket.peerNetns()
  } catch {
    return undefined
  }
  try {
    return fstatSync(fd, { bigint: true }).ino
  } finally {
    closeSync(fd)
  }
}

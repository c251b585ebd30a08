import type { X509Certificate } from 'node:crypto'
import type { X509Svid } from '@nsm/spiffe/svid.js'

/** Descriptors that ride below TLS on a unix socket (wire contract §6.3). */
export interface DescriptorChannel {
  /** Queues a duplicate of `fd`; it leaves with the next bytes written. Answers its key. The caller keeps `fd`. */
  send(fd: number): { readonly dev: bigint; readonly inode: bigint }
  /**
   * A duplicate of the descriptor with this key, now or as soon as it arrives; the caller closes it.
   * Rejects when the signal aborts or the socket closes.
   */
  receive(dev: bigint, inode: bigint, signal: AbortSignal): Promise<number>
  /** Closes what was received under this key, once nothing waits for it any more. */
  forget(dev: bigint, inode: bigint): void
  /**
   * The network namespace of the process at the other end, as the kernel names it (SO_PEERPIDFD); the caller closes it.
   * Rejects where the kernel cannot tell.
   */
  peerNetns(): Promise<number>
  /** SO_PEERCRED of the other end. `pid` is 0 when it lives in a pid namespace that cannot be seen from here. */
  readonly peerCredentials: { readonly pid: number; readonly uid: number; readonly gid: number }
}

/** The other end of one authenticated session. */
export interface Peer {
  /** SPIFFE ID of the other end, verified. */
  readonly spiffeId: string
  /** Leaf certificate that the other end showed in this session. */
  readonly certificate: X509Certificate
  /** The SVID that this process showed in this session; tokens for this peer are signed by its key (§3.5). */
  readonly localSvid: X509Svid
  /** Absent on TCP. */
  readonly descriptors: DescriptorChannel | undefined
}

import type { Duplex } from 'node:stream'
import type { DescriptorChannel } from '../peer.ts'

/** A connected unix socket that carries descriptors below its bytes (wire contract §6.3). */
export type DescriptorSocket = Duplex & DescriptorChannel

export interface UnixListener {
  close(): Promise<void>
}

/** How unix sockets are made; a parameter, so that a process without any loads no native code. */
export interface UnixTransport {
  connectUnix(path: string, signal?: AbortSignal): Promise<DescriptorSocket>
  listenUnix(
    path: string,
    options: { mode?: number; backlog?: number },
    onConnection: (socket: DescriptorSocket) => void,
  ): Promise<UnixListener>
}

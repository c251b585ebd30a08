import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import {
  startAuthority,
  type Authority,
  type AuthorityOptions,
  type ListenUnix,
} from '@nsm/spiffe/authority/authority.js'

/** What `nodeListen` says of each caller in turn. */
export interface Credentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** A listener without native code: credentials are what the test says. */
export function nodeListen(credentials: () => Credentials = () => ({ pid: 1, uid: 0, gid: 0 })): ListenUnix {
  return async (socketPath, _options, onConnection) => {
    const server = net.createServer((socket) => {
      const peerNetns = async (): Promise<number> => Promise.reject(new Error('not known'))
      onConnection(
        Object.assign(socket, { peerCredentials: credentials(), peerNetns, peerIsAlive: () => true }),
      )
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(socketPath, resolve)
    })
    return { close: async () => new Promise((resolve) => void server.close(() => resolve())) }
  }
}

/** An authority on a socket in a folder of its own. */
export interface RunningAuthority {
  readonly authority: Authority
  /** `unix:///…`. */
  readonly address: string
  readonly folder: string
  stop(): Promise<void>
}

export async function runAuthority(
  options: Omit<AuthorityOptions, 'socketPath' | 'listen'> & Partial<Pick<AuthorityOptions, 'listen'>>,
): Promise<RunningAuthority> {
  const folder = await mkdtemp(path.join(tmpdir(), 'authority-'))
  const socketPath = path.join(folder, 'agent.sock')
  const remove = async (): Promise<void> => rm(folder, { recursive: true, force: true })
  const authority = await startAuthority({ listen: nodeListen(), ...options, socketPath }).catch(
    async (err: unknown) => {
      await remove()
      throw err
    },
  )
  return {
    authority,
    address: `unix://${socketPath}`,
    folder,
    async stop() {
      await authority.close()
      await remove()
    },
  }
}

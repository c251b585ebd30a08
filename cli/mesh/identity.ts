import { join } from 'node:path'
import { listenUnix } from '@nsm/native/unix-socket.js'
import type { Logger } from '@nsm/sdk/log.js'
import { startAuthority, type Authority } from '@nsm/spiffe/authority/authority.js'
import type { Caller } from '@nsm/spiffe/authority/caller.js'
import { systemNamespace } from './control-plane.ts'
import { ancestry } from './processes.ts'

/** Name of the mesh daemon itself in its identity. */
const daemonName = 'nsm-up'

/** Who is who in the mesh: the authority that all parts and pods get their SVIDs from, and how it tells them apart. */
export interface MeshIdentity {
  /** Address of the Workload API. */
  readonly socket: string
  /** The process and all of its descendants are this part of the mesh. */
  addPart(name: string, pid: number): void
  /** Whatever runs in this network namespace is this pod. */
  addPod(netns: string, namespace: string, name: string): void
  removePod(netns: string): void
  close(): Promise<void>
}

export interface IdentityOptions {
  readonly trustDomain: string
  /** Folder that gets mounted into pods. */
  readonly folder: string
  readonly log: Logger
}

/** Starts the authority. It knows callers by what the kernel says of the socket's other end: pid and network namespace. */
export async function startIdentity({ trustDomain, folder, log }: IdentityOptions): Promise<MeshIdentity> {
  const parts = new Map<string, number>()
  const pods = new Map<string, string>()
  const idOf = (namespace: string, name: string): string =>
    `spiffe://${trustDomain}/ns/${namespace}/pod/${name}`

  const attest = async ({ pid, netnsInode }: Caller): Promise<string | undefined> => {
    const pod = netnsInode === undefined ? undefined : pods.get(String(netnsInode))
    if (pod !== undefined) return pod
    if (pid === process.pid) return idOf(systemNamespace, daemonName)
    const line = await ancestry(pid)
    const part = [...parts].find(([, outer]) => line.includes(outer))
    return part === undefined ? undefined : idOf(systemNamespace, part[0])
  }

  const socketPath = join(folder, 'agent.sock')
  const authority: Authority = await startAuthority({
    trustDomain,
    socketPath,
    listen: listenUnix,
    attest,
    onProblem: (err) => log.warn({ code: err.code, err: err.message }, 'workload api'),
  })
  return {
    socket: `unix://${socketPath}`,
    addPart: (name, pid) => void parts.set(name, pid),
    addPod: (netns, namespace, name) => void pods.set(netns, idOf(namespace, name)),
    removePod(netns) {
      const id = pods.get(netns)
      if (id === undefined) return
      pods.delete(netns)
      authority.revoke(id)
    },
    close: () => authority.close(),
  }
}

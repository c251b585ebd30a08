import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { withTimeout, type Ctx } from '../ctx.ts'
import {
  descriptorPath,
  formatInodeUrl,
  parseInodeUrl,
  type DescriptorFunctions,
  type InodeId,
} from '../descriptors.ts'
import { callDescriptors } from '../elements/call-descriptors.ts'
import { NsmError } from '../errors.ts'
import type { DescriptorChannel, Peer } from '../peer.ts'
import type { NetworkServiceEndpointElement } from '../registry-chain.ts'
import { isInSharedFolder, openSharedSocket } from './shared-socket.ts'

/** An endpoint's socket file, open for as long as its registration lives. */
interface HeldSocket {
  readonly fd: number
  /** `unix:///proc/<pid>/fd/<fd>`: can be dialled while it is open. */
  readonly url: string
  readonly inodeUrl: string
}

/** As a file is known, however it was named. */
type OpenedSocket = Pick<HeldSocket, 'fd' | 'inodeUrl'>

export interface RecvFdServer extends NetworkServiceEndpointElement {
  /** The open socket file behind a URL that this element made. */
  fdOf(url: string): number | undefined
  /** Closes all of them. */
  close(): void
}

export interface RecvFdServerOptions {
  readonly native: DescriptorFunctions
  /** Longest wait for a descriptor, within the caller's deadline; default 15 s. */
  readonly waitMs?: number
  /** Default 4096. */
  readonly maxSockets?: number
  /** Folders that endpoints share with this process: their sockets there may be named by path. Default none. */
  readonly sharedFolders?: readonly string[]
}

/**
 * Opens the socket that a registering endpoint passes: `inode://…` becomes `unix:///proc/<pid>/fd/<n>` for the elements behind,
 * and `inode://…` again in the answer (§6.4). The descriptor lives as long as the registration.
 *
 * A remote caller's `unix:` path is refused (PERMISSION_DENIED), since a name can be anybody's, but for those in shared folders.
 */
export function recvFdServer(options: RecvFdServerOptions): RecvFdServer {
  const { native } = options
  const held = new Map<string, HeldSocket>()
  /** The same by what each Find is answered with. */
  const byUrl = new Map<string, HeldSocket>()

  function drop(name: string): void {
    const socket = held.get(name)
    held.delete(name)
    if (socket === undefined) return
    byUrl.delete(socket.url)
    native.close(socket.fd)
  }

  return {
    name: 'recvfd server',

    async register(ctx, endpoint, next) {
      const { name, url } = endpoint
      const id = parseInodeUrl(url)
      try {
        const socket = await socketOf(ctx, endpoint, options, held)
        if (socket === undefined) {
          const answer = await next.register(ctx, endpoint)
          drop(name)
          return answer
        }
        const isNew = held.get(name) !== socket
        const answer = await next.register(ctx, { ...endpoint, url: socket.url }).catch((err: unknown) => {
          if (isNew) native.close(socket.fd)
          throw err
        })
        if (isNew) drop(name)
        held.set(name, socket)
        byUrl.set(socket.url, socket)
        return answer.url === socket.url ? { ...answer, url } : answer
      } finally {
        if (id !== undefined) ctx.peer?.descriptors?.forget(id.dev, id.inode)
      }
    },

    async unregister(ctx, endpoint, next) {
      const id = parseInodeUrl(endpoint.url)
      try {
        await next.unregister(ctx, { ...endpoint, url: held.get(endpoint.name)?.url ?? endpoint.url })
      } finally {
        drop(endpoint.name)
        if (id !== undefined) ctx.peer?.descriptors?.forget(id.dev, id.inode)
      }
    },

    fdOf: (url) => byUrl.get(url)?.fd,

    close() {
      for (const name of held.keys()) drop(name)
    },
  }
}

/** What the endpoint names: the socket that is held for it already, or a new one; undefined = it names none. */
async function socketOf(
  ctx: Ctx,
  { name, url }: NetworkServiceEndpoint,
  options: RecvFdServerOptions,
  held: ReadonlyMap<string, HeldSocket>,
): Promise<HeldSocket | undefined> {
  const { native, maxSockets = 4096, sharedFolders = [] } = options
  const id = parseInodeUrl(url)
  const known = held.get(name)
  if (known !== undefined && known.inodeUrl === url) return known
  const shared = id === undefined && ctx.peer !== undefined && isInSharedFolder(url, sharedFolders)
  if (id === undefined && !shared) return refusePath(ctx, url)
  if (held.size >= maxSockets) {
    throw new NsmError('RESOURCE_EXHAUSTED', `${maxSockets} sockets are held already`)
  }
  const { fd, inodeUrl } = await openSocket(ctx, options, { url, id })
  if (known?.inodeUrl !== inodeUrl) return { fd, url: `unix://${descriptorPath(fd)}`, inodeUrl }
  native.close(fd)
  return known
}

async function openSocket(
  ctx: Ctx,
  options: RecvFdServerOptions,
  { url, id }: { readonly url: string; readonly id: InodeId | undefined },
): Promise<OpenedSocket> {
  if (id !== undefined) return receivedSocket(ctx, options, { url, id })
  const { native, sharedFolders = [] } = options
  return checkedSocket(native, openSharedSocket(native, sharedFolders, url), url)
}

async function receivedSocket(
  ctx: Ctx,
  { native, waitMs = 15_000 }: RecvFdServerOptions,
  { url, id }: { readonly url: string; readonly id: InodeId },
): Promise<OpenedSocket> {
  const channel = ctx.peer?.descriptors
  if (channel === undefined) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `url is ${url}, which only works on a socket that carries descriptors`,
    )
  }
  return checkedSocket(native, await received(ctx, channel, { id, url, waitMs }), url)
}

/**
 * Opens the sockets that Find answers name: waits for the descriptor behind `inode://…`, which becomes
 * `unix:///proc/<pid>/fd/<n>` until the served call is over (§6.4). `peer`: who answers.
 */
export function recvFdClient(
  native: DescriptorFunctions,
  peer: Peer,
  options: { waitMs?: number } = {},
): NetworkServiceEndpointElement {
  const { waitMs = 15_000 } = options
  const channel = peer.descriptors

  async function opened(ctx: Ctx, endpoint: NetworkServiceEndpoint): Promise<NetworkServiceEndpoint> {
    const { url } = endpoint
    const id = parseInodeUrl(url)
    if (id === undefined || channel === undefined) return endpoint
    try {
      const held = callDescriptors(ctx)
      if (held === undefined) return endpoint
      const fd = await received(ctx, channel, { id, url, waitMs })
      checkedSocket(native, fd, url)
      held.hold(fd, id, channel)
      return { ...endpoint, url: `unix://${descriptorPath(fd)}` }
    } finally {
      channel.forget(id.dev, id.inode)
    }
  }

  return {
    name: 'recvfd client',

    async *find(ctx, query, next) {
      for await (const response of next.find(ctx, query)) {
        const endpoint = response.networkServiceEndpoint
        if (endpoint === undefined || response.deleted) yield response
        else yield { ...response, networkServiceEndpoint: await opened(ctx, endpoint) }
      }
    },
  }
}

interface Wanted {
  readonly id: InodeId
  readonly url: string
  readonly waitMs: number
}

async function received(ctx: Ctx, channel: DescriptorChannel, { id, url, waitMs }: Wanted): Promise<number> {
  try {
    return await withTimeout(ctx, waitMs, ({ signal }) => channel.receive(id.dev, id.inode, signal))
  } catch (cause) {
    const { code, message } = NsmError.from(cause)
    throw new NsmError(code, `no descriptor for the endpoint's url ${url}: ${message}`, { cause })
  }
}

/** A socket *file*: a descriptor of a connection has the same type, but nobody can dial it. Closes what is not wanted. */
function checkedSocket(native: DescriptorFunctions, fd: number, url: string): OpenedSocket {
  const { kind, isPathOnly, dev, inode } = native.describe(fd)
  if (kind === 'socket' && isPathOnly) return { fd, inodeUrl: formatInodeUrl({ dev, inode }) }
  native.close(fd)
  throw new NsmError('INVALID_ARGUMENT', `url ${url} is a ${kind}, not a socket file opened with O_PATH`)
}

function refusePath(ctx: Ctx, url: string): undefined {
  if (ctx.peer === undefined || !/^(?:unix|inode|file):/.test(url)) return undefined
  throw new NsmError(
    'PERMISSION_DENIED',
    `url is ${url}: no path is taken, pass a descriptor of the socket file and its inode:// url`,
  )
}

import {
  heldPath,
  formatInodeUrl,
  type DescriptorFunctions,
  type DescriptorInfo,
  type InodeId,
} from '../descriptors.ts'
import { key, valueOf, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { DescriptorChannel } from '../peer.ts'
import { metadataOf } from './metadata.ts'

/** A network namespace that is open for the time of one call. */
export interface HeldNetns {
  readonly fd: number
  /** What `inodeURL` says inside this process. Names the namespace: the descriptor's number means another one in the next call. */
  readonly fileUrl: string
  /** What it says on a socket. */
  readonly inodeUrl: string
  /** Where it came from. */
  readonly from: DescriptorChannel
}

/** The namespaces that one call got; all are closed when the call is over, since an open one keeps a dead pod's interfaces up. */
export interface CallDescriptors {
  /** Takes over a checked descriptor. */
  hold(fd: number, id: InodeId, from: DescriptorChannel): HeldNetns
  byFileUrl(url: string): HeldNetns | undefined
  byInodeUrl(url: string): HeldNetns | undefined
}

interface Holder extends CallDescriptors {
  closed: boolean
}

const current: Key<Holder> = key('descriptors of the call')

/** The namespaces of the call that is being served; undefined outside of a served call, and once it is over. */
export function callDescriptors(ctx: Ctx): CallDescriptors | undefined {
  const holder = valueOf(ctx, current)
  return holder?.closed === false ? holder : undefined
}

/** Runs one served call; what it holds is closed when `body` has ended. */
export async function holdingDescriptors<T>(
  ctx: Ctx,
  native: DescriptorFunctions,
  body: (ctx: Ctx, held: CallDescriptors) => Promise<T>,
): Promise<T> {
  const held: HeldNetns[] = []
  const holder: Holder = {
    closed: false,
    hold(fd, id, from) {
      const one = { fd, fileUrl: `file://${heldPath(id)}`, inodeUrl: formatInodeUrl(id), from }
      held.push(one)
      return one
    },
    byFileUrl: (url) => held.find(({ fileUrl }) => fileUrl === url),
    byInodeUrl: (url) => held.find(({ inodeUrl }) => inodeUrl === url),
  }
  try {
    return await body(withValue(ctx, current, holder), holder)
  } finally {
    holder.closed = true
    for (const { fd } of held) native.close(fd)
  }
}

/** What is at the other end of `fd`, if it may be wired; else it is closed. @throws NsmError naming the parameter. */
export function checkedNetns(native: DescriptorFunctions, fd: number, url: string): DescriptorInfo {
  try {
    const info = native.describe(fd)
    if (info.kind !== 'netns') {
      throw new NsmError(
        'INVALID_ARGUMENT',
        `mechanism parameter inodeURL ${url} is a ${info.kind}, not a network namespace`,
      )
    }
    if (info.isOwnNetns) {
      throw new NsmError(
        'PERMISSION_DENIED',
        `mechanism parameter inodeURL ${url} is the network namespace of this process, not that of a pod`,
      )
    }
    return info
  } catch (err) {
    native.close(fd)
    throw err
  }
}

const maxRemembered = 64
/** File URL → inode URL of a connection's earlier calls, whose descriptors are closed. */
const earlierUrls: Key<ReadonlyMap<string, string>> = key('earlier descriptor urls')

/** What `fileUrl` stood for in earlier calls of this connection. */
export function earlierInodeUrl(ctx: Ctx, fileUrl: string): string | undefined {
  return metadataOf(ctx, 'client').get(earlierUrls)?.get(fileUrl)
}

/** Whether this connection has had a namespace in an earlier call. */
export function isRefresh(ctx: Ctx): boolean {
  return metadataOf(ctx, 'client').get(earlierUrls) !== undefined
}

export function rememberUrl(ctx: Ctx, fileUrl: string, inodeUrl: string): void {
  const store = metadataOf(ctx, 'client')
  // One mechanism and the preferences of the newest calls: older ones are not asked for any more.
  const newest = [...(store.get(earlierUrls) ?? [])]
    .filter(([url]) => url !== fileUrl)
    .slice(-maxRemembered + 1)
  store.set(earlierUrls, new Map([...newest, [fileUrl, inodeUrl]]))
}

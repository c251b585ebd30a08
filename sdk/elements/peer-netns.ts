import type { Ctx } from '../ctx.ts'
import { formatInodeUrl, type DescriptorFunctions, type InodeId } from '../descriptors.ts'
import { NsmError } from '../errors.ts'
import type { DescriptorChannel, Peer } from '../peer.ts'

/** Finds out whether a namespace is that of the process at the other end of a socket. */
export interface PeerNetns {
  /** A descriptor of the wanted namespace if it is the peer's own one; the caller closes it. */
  open(ctx: Ctx, channel: DescriptorChannel, wanted: InodeId): Promise<number | undefined>
}

/** Which namespaces a caller may name. */
export interface NetnsRules {
  readonly ownOnly: (caller: Peer) => boolean
  readonly neverOwn: (caller: Peer) => boolean
}

/**
 * Asks the kernel once per connection which namespace the peer lives in.
 * Whoever `ownOnly` holds for gets no other one than its own, whoever `neverOwn` holds for any but its own (PERMISSION_DENIED),
 * where the kernel can tell.
 */
export function peerNetns(native: DescriptorFunctions, { ownOnly, neverOwn }: NetnsRules): PeerNetns {
  const identities = new WeakMap<DescriptorChannel, Promise<InodeId | undefined>>()

  return {
    async open(ctx, channel, wanted) {
      const known = identities.get(channel) ?? identify(ctx, native, channel)
      identities.set(channel, known)
      const own = await known
      if (own?.dev === wanted.dev && own.inode === wanted.inode) {
        if (ctx.peer === undefined || !neverOwn(ctx.peer)) return channel.peerNetns()
        throw new NsmError(
          'PERMISSION_DENIED',
          `mechanism parameter inodeURL ${formatInodeUrl(wanted)} is the network namespace of the manager, not that of a pod`,
        )
      }
      if (own === undefined || ctx.peer === undefined || !ownOnly(ctx.peer)) return undefined
      throw new NsmError(
        'PERMISSION_DENIED',
        `mechanism parameter inodeURL ${formatInodeUrl(wanted)} is not the caller's own network namespace, ${formatInodeUrl(own)}`,
      )
    },
  }
}

async function identify(
  ctx: Ctx,
  native: DescriptorFunctions,
  channel: DescriptorChannel,
): Promise<InodeId | undefined> {
  try {
    const fd = await channel.peerNetns()
    try {
      const { dev, inode } = native.describe(fd)
      return { dev, inode }
    } finally {
      native.close(fd)
    }
  } catch (err) {
    ctx.log.debug({ err: String(err) }, "the caller's own network namespace can't be told")
    return undefined
  }
}

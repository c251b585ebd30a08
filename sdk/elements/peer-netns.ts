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
  /** Called when somebody whom `ownOnly` holds for may name any, since nobody here can be told its own. */
  readonly unverified: () => void
}

/** A peer's own namespace, or why it is not known. */
type Identity = { readonly own: InodeId } | { readonly failure: unknown }

/**
 * Asks the kernel once per connection which namespace the peer lives in.
 * Whoever `ownOnly` holds for gets no other one than its own, whoever `neverOwn` holds for any but its own (PERMISSION_DENIED).
 * Where the kernel, or what this process may do, is not up to the question, descriptors that were passed count alone.
 */
export function peerNetns(native: DescriptorFunctions, rules: NetnsRules): PeerNetns {
  const { ownOnly, neverOwn } = rules
  const identities = new WeakMap<DescriptorChannel, Promise<Identity>>()
  const warnAndCount = untold(rules.unverified)

  async function identityOf(channel: DescriptorChannel): Promise<Identity> {
    const known = identities.get(channel) ?? identify(native, channel)
    identities.set(channel, known)
    const identity = await known
    // Next time it may work: descriptors may only have been short.
    if ('failure' in identity) identities.delete(channel)
    return identity
  }

  return {
    async open(ctx, channel, wanted) {
      const identity = await identityOf(channel)
      const own = 'own' in identity ? identity.own : undefined
      if (own?.dev === wanted.dev && own.inode === wanted.inode) {
        if (ctx.peer === undefined || !neverOwn(ctx.peer)) return channel.peerNetns()
        throw new NsmError(
          'PERMISSION_DENIED',
          `mechanism parameter inodeURL ${formatInodeUrl(wanted)} is the network namespace of the manager, not that of a pod`,
        )
      }
      if (ctx.peer === undefined || !ownOnly(ctx.peer)) return undefined
      if ('failure' in identity) {
        warnAndCount(ctx, wanted, identity.failure)
        return undefined
      }
      throw new NsmError(
        'PERMISSION_DENIED',
        `mechanism parameter inodeURL ${formatInodeUrl(wanted)} is not the caller's own network namespace, ${formatInodeUrl(identity.own)}`,
      )
    },
  }
}

/** Says so once for each cause, and counts. @throws NsmError when the cause lies with the caller. */
function untold(count: () => void): (ctx: Ctx, wanted: InodeId, failure: unknown) => void {
  const causes = new Set<string>()
  return (ctx, wanted, failure) => {
    const { code, operation } = failure as { readonly code?: unknown; readonly operation?: unknown }
    const cause = `${String(operation)} ${String(code)}`
    if (!cannotAsk.test(cause))
      throw new NsmError(
        'PERMISSION_DENIED',
        `mechanism parameter inodeURL ${formatInodeUrl(wanted)} is not taken: the caller's own network namespace can't be told, since ${String(failure)}`,
        { cause: failure },
      )
    count()
    if (causes.has(cause)) return
    causes.add(cause)
    ctx.log.warn(
      { err: String(failure) },
      "callers' own network namespaces can't be told, so they may name any that they can open: this process needs SYS_PTRACE, before kernel 6.11 SYS_ADMIN, before 6.5 the node's process namespace (hostPID)",
    )
  }
}

/**
 * The kernel has no such question, answers it to others only, or names a process that can't be seen from here. Everything else, such as a process
 * that has ended, is within a caller's power: who connects, hands the socket on and ends must not be believed for it.
 */
const cannotAsk = / (?:EPERM|EACCES|ENOSYS|ENOTTY|EOPNOTSUPP)$|^SO_PEERCRED ESRCH$|^setns EINVAL$/

async function identify(native: DescriptorFunctions, channel: DescriptorChannel): Promise<Identity> {
  try {
    const fd = await channel.peerNetns()
    try {
      const { dev, inode } = native.describe(fd)
      return { own: { dev, inode } }
    } finally {
      native.close(fd)
    }
  } catch (failure) {
    return { failure }
  }
}

import type { Element } from '../chain.ts'
import { withTimeout, type Ctx } from '../ctx.ts'
import { parseInodeUrl, type DescriptorFunctions, type InodeId } from '../descriptors.ts'
import { NsmError } from '../errors.ts'
import type { DescriptorChannel, Peer } from '../peer.ts'
import { checkedNetns, holdingDescriptors, type CallDescriptors } from './call-descriptors.ts'
import { swapInConnection, swapInRequest, type SwapUrl } from './inode-parameter.ts'
import { peerNetns, type PeerNetns } from './peer-netns.ts'

export interface RecvFdServerOptions {
  readonly native: DescriptorFunctions
  /** Callers that are pods: each may name its own network namespace alone. Default none, since all callers are managers. */
  readonly ownNetnsOnly?: (caller: Peer) => boolean
  /** Who is no pod, and may name any network namespace but its own; default nobody. */
  readonly neverOwnNetns?: (caller: Peer) => boolean
  /** Called for each namespace that is taken of a pod although its own can't be told. */
  readonly unverified?: () => void
  /** Longest wait for a descriptor, within the caller's deadline; default 15 s. */
  readonly waitMs?: number
  /** The same for Close, which goes on without; default 250 ms: senders of ours and of upstream send it with the call. */
  readonly closeWaitMs?: number
}

/**
 * Turns the `inodeURL`s of remote callers into open descriptors (§6.4): `inode://…` becomes `file:///proc/<pid>/fd/<n>` on the way
 * in, and that becomes `inode://…` again in the answer. All are closed when the call is over.
 *
 * Only descriptors count: the one that the kernel gives for the caller's own namespace, else one that came over this very
 * connection, which is waited for. A path is refused (PERMISSION_DENIED), and so is everything that is not a pod's network namespace.
 */
export function recvFdServer(options: RecvFdServerOptions): Element {
  const { native, waitMs = 15_000, closeWaitMs = 250 } = options
  const { ownNetnsOnly: ownOnly = () => false, neverOwnNetns: neverOwn = () => false } = options
  const { unverified = () => undefined } = options
  const opening = openerOf(native, peerNetns(native, { ownOnly, neverOwn, unverified }))

  return {
    name: 'recvfd server',

    async request(ctx, req, next) {
      const forget = forgetting(ctx)
      try {
        return await holdingDescriptors(ctx, native, async (inner, held) => {
          const open = opening(ctx, held, waitMs)
          const request = await swapInRequest(req, (url) => open(forget.note(url)))
          return swapInConnection(await next.request(inner, request), (url) => asReceived(ctx, held, url))
        })
      } finally {
        forget.all()
      }
    },

    async close(ctx, conn, next) {
      const forget = forgetting(ctx)
      try {
        await holdingDescriptors(ctx, native, async (inner, held) => {
          const open = opening(ctx, held, closeWaitMs)
          const opened = await swapInConnection(conn, (url) => open(forget.note(url))).catch(
            (err: unknown) => {
              ctx.log.debug(
                { connection_id: conn.id, err: String(err) },
                'closing without the network namespace',
              )
              return conn
            },
          )
          await next.close(inner, opened)
        })
      } finally {
        forget.all()
      }
    },
  }
}

type Opener = (ctx: Ctx, held: CallDescriptors, waitMs: number) => SwapUrl

/** Opens what a remote caller names; calls from inside of this process keep their urls. */
function openerOf(native: DescriptorFunctions, own: PeerNetns): Opener {
  return (ctx, held, waitMs) => {
    const channel = ctx.peer?.descriptors
    return async (url) => {
      const wanted = ctx.peer === undefined ? undefined : remoteInode(url)
      if (wanted === undefined || channel === undefined) return url
      const known = held.byInodeUrl(url)
      if (known !== undefined) return known.fileUrl
      const fd =
        (await own.open(ctx, channel, wanted)) ?? (await received(ctx, channel, { wanted, url, waitMs }))
      return held.hold(fd, checkedNetns(native, fd, url), channel).fileUrl
    }
  }
}

interface Wait {
  readonly wanted: InodeId
  readonly url: string
  readonly waitMs: number
}

async function received(
  ctx: Ctx,
  channel: DescriptorChannel,
  { wanted, url, waitMs }: Wait,
): Promise<number> {
  try {
    return await withTimeout(ctx, waitMs, ({ signal }) => channel.receive(wanted.dev, wanted.inode, signal))
  } catch (cause) {
    const { code, message } = NsmError.from(cause)
    throw new NsmError(code, `no descriptor for mechanism parameter inodeURL ${url}: ${message}`, { cause })
  }
}

/** @throws NsmError for everything but `inode://<dev>/<inode>`. */
function remoteInode(url: string): InodeId {
  const id = parseInodeUrl(url)
  if (id !== undefined) return id
  const shown = JSON.stringify(url.slice(0, 100))
  if (url.startsWith('inode:')) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `mechanism parameter inodeURL is ${shown}, not inode://<device>/<inode>`,
    )
  }
  throw new NsmError(
    'PERMISSION_DENIED',
    `mechanism parameter inodeURL is ${shown}: no path is taken, pass a descriptor and its inode:// url`,
  )
}

function asReceived(ctx: Ctx, held: CallDescriptors, url: string): string {
  const one = held.byFileUrl(url)
  return one !== undefined && one.from === ctx.peer?.descriptors ? one.inodeUrl : url
}

/** The sender sends a descriptor each time that it names it, so each naming is forgotten once. */
function forgetting(ctx: Ctx): { note(url: string): string; all(): void } {
  const named: InodeId[] = []
  return {
    note(url) {
      const id = parseInodeUrl(url)
      if (id !== undefined) named.push(id)
      return url
    },
    all() {
      for (const { dev, inode } of named) ctx.peer?.descriptors?.forget(dev, inode)
    },
  }
}

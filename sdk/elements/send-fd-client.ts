import type { Connection } from '@nsm/api/gen/connection.js'
import type { Element, NetworkService } from '../chain.ts'
import { detached, type Ctx } from '../ctx.ts'
import { formatInodeUrl, isOwnDescriptorPath, type DescriptorFunctions } from '../descriptors.ts'
import { NsmError } from '../errors.ts'
import type { DescriptorChannel } from '../peer.ts'
import { callDescriptors, earlierInodeUrl, isRefresh, rememberUrl } from './call-descriptors.ts'
import { remoteOfCall } from './dial.ts'
import { swapInConnection, swapInRequest, type SwapUrl } from './inode-parameter.ts'

const scheme = 'file://'

/**
 * Sends the network namespaces that a request names: `file://<path>` becomes `inode://…` and its descriptor leaves on the session's
 * socket before the request; in the answer the text is put back (§6.4). Stands behind `dial`.
 *
 * Of a descriptor that an earlier call held only the name is sent; the answer then brings the descriptor again.
 */
export function sendFdClient(native: DescriptorFunctions): Element {
  /** `sent`: inode URL → file URL of this call. */
  function sending(ctx: Ctx, channel: DescriptorChannel, sent: Map<string, string>): SwapUrl {
    return async (url) => {
      if (!url.startsWith(scheme)) return url
      const isHeld = isOwnDescriptorPath(url.slice(scheme.length))
      const instead = isHeld ? await sendHeld(native, ctx, channel, url) : sendPath(native, channel, url)
      // What no call holds any more is the next hop's own: its answer brings it anew.
      if (!isHeld || callDescriptors(ctx)?.byFileUrl(url) !== undefined) sent.set(instead, url)
      return instead
    }
  }

  return {
    name: 'sendfd client',

    async request(ctx, req, next) {
      const established = isRefresh(ctx)
      const channel = remoteOfCall(ctx).peer.descriptors
      const sent = new Map<string, string>()
      const request = channel === undefined ? req : await swapInRequest(req, sending(ctx, channel, sent))
      const answer = await next.request(ctx, request)
      try {
        const swapped = await swapInConnection(answer, (url) => sent.get(url) ?? remoteUrl(url))
        for (const [inodeUrl, fileUrl] of sent) rememberUrl(ctx, fileUrl, inodeUrl)
        return swapped
      } catch (err) {
        if (!established) await closeBad(ctx, answer, next)
        throw err
      }
    },

    async close(ctx, conn, next) {
      const channel = remoteOfCall(ctx).peer.descriptors
      const swapped =
        channel === undefined ? conn : await swapInConnection(conn, sending(ctx, channel, new Map()))
      await next.close(ctx, swapped)
    },
  }
}

async function sendHeld(
  native: DescriptorFunctions,
  ctx: Ctx,
  channel: DescriptorChannel,
  url: string,
): Promise<string> {
  const calls = callDescriptors(ctx)
  const fresh = calls?.byFileUrl(url)
  if (fresh !== undefined) return formatInodeUrl(channel.send(fresh.fd))
  const inodeUrl = earlierInodeUrl(ctx, url)
  if (inodeUrl === undefined) {
    throw new NsmError('FAILED_PRECONDITION', `mechanism parameter inodeURL ${url} is not open in this call`)
  }
  const again = calls?.byInodeUrl(inodeUrl)
  if (again === undefined) await sendBack(native, channel, inodeUrl)
  else channel.send(again.fd)
  return inodeUrl
}

/** A refresh names the next hop's own namespace, as its answer did; upstream's waits for the descriptor all the same. */
async function sendBack(native: DescriptorFunctions, channel: DescriptorChannel, url: string): Promise<void> {
  const fd = await channel.peerNetns().catch(() => undefined)
  if (fd === undefined) return
  try {
    if (formatInodeUrl(native.describe(fd)) === url) channel.send(fd)
  } finally {
    native.close(fd)
  }
}

async function closeBad(ctx: Ctx, conn: Connection, next: NetworkService): Promise<void> {
  try {
    await next.close(detached(ctx), conn)
  } catch (err) {
    ctx.log.warn({ connection_id: conn.id, err: String(err) }, 'close after a bad answer failed')
  }
}

function sendPath(native: DescriptorFunctions, channel: DescriptorChannel, url: string): string {
  const fd = native.open(url.slice(scheme.length), 'path')
  try {
    return formatInodeUrl(channel.send(fd))
  } finally {
    native.close(fd)
  }
}

/** A path in an answer would be opened here, with this process' rights. */
function remoteUrl(url: string): string {
  if (!url.startsWith(scheme)) return url
  throw new NsmError('PERMISSION_DENIED', `answer's mechanism parameter inodeURL is ${url}: no path is taken`)
}

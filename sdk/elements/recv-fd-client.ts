import type { Element } from '../chain.ts'
import { detached, withTimeout, type Ctx } from '../ctx.ts'
import { parseInodeUrl, type DescriptorFunctions } from '../descriptors.ts'
import { NsmError } from '../errors.ts'
import { callDescriptors, checkedNetns, isRefresh, rememberUrl } from './call-descriptors.ts'
import { remoteOfCall } from './dial.ts'
import { swapInConnection } from './inode-parameter.ts'

/**
 * Opens the network namespace that an answer names: waits for the descriptor behind `inode://…`, which becomes
 * `file:///proc/<pid>/fd/<n>` until the served call is over (§6.4). Stands behind `dial` and before `sendFdClient`, which has put
 * this side's own ones back. Outside of a served call nobody could close it, so the text stays.
 */
export function recvFdClient(native: DescriptorFunctions, options: { waitMs?: number } = {}): Element {
  const { waitMs = 15_000 } = options

  async function opened(ctx: Ctx, url: string): Promise<string> {
    const id = parseInodeUrl(url)
    const channel = remoteOfCall(ctx).peer.descriptors
    const held = callDescriptors(ctx)
    if (id === undefined || channel === undefined) return url
    try {
      if (held === undefined) return url
      const fd = await withTimeout(ctx, waitMs, ({ signal }) =>
        channel.receive(id.dev, id.inode, signal),
      ).catch((cause: unknown) => {
        const { code, message } = NsmError.from(cause)
        throw new NsmError(code, `no descriptor for the answer's inodeURL ${url}: ${message}`, { cause })
      })
      const { fileUrl } = held.hold(fd, checkedNetns(native, fd, url), channel)
      rememberUrl(ctx, fileUrl, url)
      return fileUrl
    } finally {
      channel.forget(id.dev, id.inode)
    }
  }

  return {
    name: 'recvfd client',

    async request(ctx, req, next) {
      const established = isRefresh(ctx)
      const answer = await next.request(ctx, req)
      try {
        return await swapInConnection(answer, (url) => opened(ctx, url))
      } catch (err) {
        if (!established) {
          await next.close(detached(ctx), answer).catch((cause: unknown) => {
            ctx.log.warn({ connection_id: answer.id, err: String(cause) }, 'close without a namespace failed')
          })
        }
        throw err
      }
    },
  }
}

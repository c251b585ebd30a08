import type { Element } from '../chain.ts'
import { formatInodeUrl, type DescriptorFunctions } from '../descriptors.ts'
import { callDescriptors } from './call-descriptors.ts'
import { swapInConnection } from './inode-parameter.ts'

const scheme = 'file://'

/**
 * Sends the network namespace that an answer names: `file://<path>` becomes `inode://…`, and its descriptor leaves on the caller's
 * socket before the answer (§6.4). What the caller itself had passed is left to `recvFdServer`.
 */
export function sendFdServer(native: DescriptorFunctions): Element {
  return {
    name: 'sendfd server',

    async request(ctx, req, next) {
      const answer = await next.request(ctx, req)
      const channel = ctx.peer?.descriptors
      if (channel === undefined) return answer
      return swapInConnection(answer, (url) => {
        if (!url.startsWith(scheme)) return url
        const held = callDescriptors(ctx)?.byFileUrl(url)
        if (held?.from === channel) return url
        const fd = held?.fd ?? native.open(url.slice(scheme.length), 'path')
        try {
          return formatInodeUrl(channel.send(fd))
        } finally {
          if (held === undefined) native.close(fd)
        }
      })
    },
  }
}

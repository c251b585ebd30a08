import { mechanismClasses } from '@nsm/api/constants.js'
import type { Element } from '../chain.ts'
import { valueOf } from '../ctx.ts'
import { clientUrl } from './client-url.ts'

/** Offers the next hop only what works towards it: LOCAL mechanisms on this node's sockets, REMOTE ones elsewhere (wire contract §2.4). */
export function filterMechanisms(): Element {
  return {
    name: 'filter mechanisms',
    request(ctx, req, next) {
      const url = valueOf(ctx, clientUrl)
      if (url === undefined) return next.request(ctx, req)
      const wanted = /^(?:unix|inode):/.test(url) ? mechanismClasses.LOCAL : mechanismClasses.REMOTE
      const mechanismPreferences = req.mechanismPreferences.filter(({ cls }) => cls === wanted)
      return next.request(ctx, { ...req, mechanismPreferences })
    },
  }
}

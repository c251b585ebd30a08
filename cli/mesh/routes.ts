import { native } from '@nsm/native/native.js'
import type { RouteInfo } from '@nsm/native/surface.js'

const mainTable = 254

/** The main table of a process' network namespace, as `ip route` words it, sorted. */
export async function routesOf(pid: number): Promise<readonly string[]> {
  const netns = native.open(`/proc/${pid}/ns/net`, 'read')
  try {
    const { routes } = await native.read(netns, ['routes'])
    return routes
      .filter(({ table, prefix }) => table === mainTable && isUnicast(prefix))
      .map(routeText)
      .toSorted()
  } finally {
    native.close(netns)
  }
}

function routeText({ prefix, gateway, dev, scope, source }: RouteInfo): string {
  const words = [
    prefix === '0.0.0.0/0' || prefix === '::/0' ? 'default' : prefix.replace(/\/(32|128)$/, ''),
    ...(gateway === undefined ? [] : ['via', gateway]),
    'dev',
    dev,
    ...(scope === 'link' ? ['scope', 'link'] : []),
    ...(source === undefined ? [] : ['src', source]),
  ]
  return words.join(' ')
}

/** The kernel's own multicast and link-local routes come and go with a device: they say nothing. */
function isUnicast(prefix: string): boolean {
  return !prefix.startsWith('ff') && !prefix.startsWith('fe80')
}

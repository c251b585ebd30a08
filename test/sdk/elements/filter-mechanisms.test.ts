import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background, withValue } from '@nsm/sdk/ctx.js'
import { clientUrl } from '@nsm/sdk/elements/client-url.js'
import { filterMechanisms } from '@nsm/sdk/elements/filter-mechanisms.js'
import t from 'tap'

const req = NetworkServiceRequest.fromPartial({
  connection: { id: 'a' },
  mechanismPreferences: [
    { cls: 'LOCAL', type: 'MEMIF' },
    { cls: 'LOCAL', type: 'KERNEL' },
    { cls: 'REMOTE', type: 'WIREGUARD' },
    { cls: 'REMOTE', type: 'IPSEC' },
  ],
})

async function offered(element: Element, url?: string): Promise<string[]> {
  let types: string[] = []
  const end: Element = {
    name: 'end',
    request(ctx, inner, next) {
      types = inner.mechanismPreferences.map(({ type }) => type)
      return next.request(ctx, inner)
    },
  }
  const ctx = url === undefined ? background() : withValue(background(), clientUrl, url)
  await chain([element, end]).request(ctx, req)
  return types
}

t.test('local mechanisms towards this node, remote ones elsewhere', async (t) => {
  t.same(await offered(filterMechanisms(), 'unix:///tmp/x.sock'), ['MEMIF', 'KERNEL'])
  t.same(await offered(filterMechanisms(), 'inode://4/5'), ['MEMIF', 'KERNEL'])
  t.same(await offered(filterMechanisms(), 'tcp://10.0.0.1:5001'), ['WIREGUARD', 'IPSEC'])
  t.same(await offered(filterMechanisms()), ['MEMIF', 'KERNEL', 'WIREGUARD', 'IPSEC'])
})

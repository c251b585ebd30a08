import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { mechanismPriority } from '@nsm/sdk/elements/mechanism-priority.js'
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

async function offered(element: Element): Promise<string[]> {
  let types: string[] = []
  const end: Element = {
    name: 'end',
    request(ctx, inner, next) {
      types = inner.mechanismPreferences.map(({ type }) => type)
      return next.request(ctx, inner)
    },
  }
  await chain([element, end]).request(background(), req)
  return types
}

t.test('named types come first, the others keep their order', async (t) => {
  t.same(await offered(mechanismPriority(['ipsec', 'Kernel'])), ['IPSEC', 'KERNEL', 'MEMIF', 'WIREGUARD'])
  t.same(await offered(mechanismPriority([])), ['MEMIF', 'KERNEL', 'WIREGUARD', 'IPSEC'])
  t.same(await offered(mechanismPriority(['srv6'])), ['MEMIF', 'KERNEL', 'WIREGUARD', 'IPSEC'])
})

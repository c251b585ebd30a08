import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { clientInfo } from '@nsm/sdk/elements/client-info.js'
import t from 'tap'

t.test('labels are added where they are missing', async (t) => {
  const service = chain([clientInfo({ nodeName: 'n', podName: 'p', clusterName: '' })])
  const req = NetworkServiceRequest.fromPartial({
    connection: { id: 'a', labels: { podName: 'other', app: 'x' } },
  })
  const conn = await service.request(background(), req)
  t.same(conn.labels, { nodeName: 'n', podName: 'other', app: 'x' })
})

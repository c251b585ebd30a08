import t from 'tap'
import { serverAndClient } from '../kit/api-client.ts'

t.test('calls that their own process holds up are not the server’s fault, and never reach it', async (t) => {
  const { server, client } = await serverAndClient(t, { qps: 0.1, burst: 1, timeoutMs: 3000 })
  server.store.put('/api/v1/nodes', { metadata: { name: 'n' } })
  await client.get('/api/v1/nodes/n')
  const waits = client.get('/api/v1/nodes/n')
  await t.rejects(client.get('/api/v1/nodes/n'), { code: 'RESOURCE_EXHAUSTED', message: /1 calls wait/ })
  await t.rejects(waits, { code: 'RESOURCE_EXHAUSTED', message: /its turn did not come/ })
  t.equal(server.calls.length, 1)
})

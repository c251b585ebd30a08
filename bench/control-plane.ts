import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { background, withTimeout } from '@nsm/sdk/ctx.js'
import { quantile, type Figure, type Section } from './figure.ts'
import { oneProcess, type OneProcess } from './one-process.ts'

/** How many clients ask at once, and in how many rounds. */
const loads = [
  { clients: 1, rounds: 300 },
  { clients: 10, rounds: 40 },
  { clients: 100, rounds: 6 },
] as const
const warmUp = 100

/** Requests through client → nsmgr → forwarder → registry → endpoint in one process, without data plane. */
export const controlPlane: Section = async ({ quick }) => {
  const mesh = await oneProcess()
  try {
    await load(mesh, 1, quick ? 5 : warmUp)
    const figures: Figure[] = []
    for (const { clients, rounds } of loads) {
      const { latencies, seconds } = await load(mesh, clients, quick ? 1 : rounds)
      const name = `control plane, ${clients} at once`
      const p50 = { what: `${name}: Request p50`, value: quantile(latencies, 0.5), unit: 'ms' }
      const p99 = { what: `${name}: Request p99`, value: quantile(latencies, 0.99), unit: 'ms' }
      const rate = { what: `${name}: Request and Close`, value: latencies.length / seconds, unit: '/s' }
      const spread = [quantile(latencies, 0.1), quantile(latencies, 0.9)] as const
      figures.push(
        clients === 1 ? { ...p50, spread, target: { atMost: 5 } } : { ...p50, spread },
        clients === 100 ? { ...p99, target: { atMost: 800 } } : p99,
        clients === 1 ? { ...rate, target: { atLeast: 200 } } : rate,
      )
    }
    return figures
  } finally {
    await mesh.close()
  }
}

async function load(
  mesh: OneProcess,
  count: number,
  rounds: number,
): Promise<{ latencies: number[]; seconds: number }> {
  const clients = []
  for (let i = 0; i < count; i += 1) clients.push(await mesh.client(`client-${i}`))
  const latencies: number[] = []
  const begin = performance.now()
  await Promise.all(
    clients.map(async ({ service }, i) => {
      for (let round = 0; round < rounds; round += 1) {
        const id = `client-${i}-${round}`
        await withTimeout(background(), 15_000, async (ctx) => {
          const start = performance.now()
          const conn = await service.request(ctx, request(id))
          latencies.push(performance.now() - start)
          await service.close(ctx, conn)
        })
      }
    }),
  )
  const seconds = (performance.now() - begin) / 1_000
  for (const client of clients) client.close()
  return { latencies, seconds }
}

function request(id: string): NetworkServiceRequest {
  return NetworkServiceRequest.fromPartial({
    connection: { id, networkService: 'bench' },
    mechanismPreferences: [{ cls: 'LOCAL', type: 'NOOP' }],
  })
}

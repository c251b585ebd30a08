import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { silent } from '@nsm/sdk/log.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import { startServer } from '@nsm/sdk/transport/server.js'
import { startAuthority, type Authority } from '@nsm/spiffe/authority/authority.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'
import t from 'tap'
import { nodeListen } from '../../kit/authority.ts'
import { ctxFor, plainTokens } from '../../kit/transport.ts'
import { until } from '../../kit/until.ts'

const ask = NetworkServiceRequest.fromPartial({ connection: { id: 'a' } })

function serialOf({ current }: X509Source): string {
  return current.svids[0].certificates[0].serialNumber
}

t.test('calls go on while the authority is away, and after one with other roots came instead', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-authority-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const socketPath = join(folder, 'agent.sock')
  const start = async (): Promise<Authority> =>
    startAuthority({
      trustDomain: 'k8s.nsm',
      socketPath,
      listen: nodeListen(),
      attest: async () => 'spiffe://k8s.nsm/ns/nsm-system/pod/part',
    })
  const first = await start()
  const sources = await Promise.all(
    [0, 1].map(async () => x509Source({ address: `unix://${socketPath}`, random: () => 0 })),
  )
  const [serverSource, clientSource] = sources
  if (serverSource === undefined || clientSource === undefined) throw new Error('there are two')
  t.teardown(() => sources.forEach((source) => source.close()))

  let shown = ''
  const noting: Element = {
    name: 'noting',
    request: (ctx, req, next) => {
      shown = ctx.peer?.certificate.serialNumber ?? ''
      return next.request(ctx, req)
    },
  }
  const listenOn = ['tcp://127.0.0.1:0']
  const services = { networkService: chain([noting]) }
  const server = await startServer({ listenOn, source: serverSource, log: silent, services })
  t.teardown(() => server.close(0))
  const sessions = dialer({ source: clientSource, tokens: plainTokens, dialTimeoutMs: 5_000 })
  t.teardown(() => sessions.close())
  const call = async (): Promise<void> => {
    const remote = await sessions.dial(ctxFor(5_000), server.urls[0] ?? '')
    try {
      await remote.request(ctxFor(5_000), ask)
    } finally {
      remote.release()
    }
  }

  await call()
  const kept = await sessions.dial(ctxFor(5_000), server.urls[0] ?? '')
  t.teardown(() => kept.release())
  const before = sources.map(serialOf)
  await first.close()
  await call()
  t.equal(shown, before[1], 'the identity stays while nobody renews it')

  const second = await start()
  t.teardown(() => second.close())
  await until('both have an identity of the new roots', () =>
    sources.every((source, i) => serialOf(source) !== before[i]),
  )
  await call()
  t.equal(shown, serialOf(clientSource))
  await kept.request(ctxFor(5_000), ask)
  t.equal(shown, before[1], 'a session that lasts keeps the identity that it began with')
})

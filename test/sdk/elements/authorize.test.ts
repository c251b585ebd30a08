import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { authorizeClient, authorizeServer } from '@nsm/sdk/elements/authorize.js'
import { toUrl } from '@nsm/sdk/elements/client-url.js'
import { dial } from '@nsm/sdk/elements/dial.js'
import { Refusal } from '@nsm/sdk/refusal.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import t from 'tap'
import { recording, refusing } from '../../kit/elements.ts'
import { testAuthority } from '../../kit/identity.ts'
import { ask, mesh, within } from '../../kit/mesh.ts'

const ca = await testAuthority('k8s.nsm')
const server = ca.svid('/server')
type Svid = typeof server

const token = (from: Svid, to: Svid): string =>
  signEs256({ sub: from.id, aud: [to.id], exp: Math.floor(Date.now() / 1000) + 60 }, from.privateKey)
const as = (svid: Svid): Ctx => ({
  ...background(),
  peer: { spiffeId: svid.id, certificate: svid.certificates[0], localSvid: server, descriptors: undefined },
})
const connOf = (svid: Svid): Connection =>
  Connection.fromPartial({
    id: 'x',
    path: {
      index: 1,
      pathSegments: [{ token: token(svid, server) }, { id: 'x', token: token(server, svid) }],
    },
  })

t.test('a connection is bound to who began it, until it is closed or its first Request fails', async (t) => {
  const [alice, bob] = [ca.svid('/alice'), ca.svid('/bob')]
  const { requests, closes, element } = recording()
  const { state, element: refuse } = refusing()
  const service = chain([authorizeServer(), element, refuse])
  const request = (svid: Svid) =>
    service.request(as(svid), { connection: connOf(svid), mechanismPreferences: [] })
  await t.rejects(request(bob), { code: 'UNAVAILABLE' })
  state.on = false
  await request(alice)
  await t.rejects(request(bob), Refusal)
  await t.rejects(service.close(as(bob), connOf(bob)), Refusal)
  state.on = true
  await t.rejects(request(alice), { code: 'UNAVAILABLE' })
  await t.rejects(request(bob), Refusal, 'a failed refresh sets nothing free')
  state.on = false
  await service.close(as(alice), connOf(alice))
  await request(bob)
  t.same([requests.length, closes.length], [4, 1])
})

t.test('what did not come over gRPC passes', async (t) => {
  const service = chain([authorizeServer()])
  t.ok(await service.request(background(), { connection: connOf(server), mechanismPreferences: [] }))
})

t.test(
  'an end client refuses an answer of somebody else, closes a new one, and keeps an old one',
  async (t) => {
    const m = await mesh(t)
    const seen = recording()
    let honest = true
    m.hop('nse', undefined, {
      elements: [
        seen.element,
        {
          name: 'liar',
          async request(ctx, req, next) {
            const conn = await next.request(ctx, req)
            if (honest || conn.path === undefined) return conn
            const pathSegments = conn.path.pathSegments.map((one) => ({ ...one, token: 'x.y.z' }))
            return { ...conn, path: { ...conn.path, pathSegments } }
          },
        },
      ],
    })
    const client = m.client('nse', { authorize: true })
    const conn = await client.request(within(), ask('old'))
    honest = false
    await t.rejects(client.request(within(), ask('new')), { code: 'PERMISSION_DENIED' })
    await t.rejects(client.request(within(), { ...ask('old'), connection: conn }), {
      code: 'PERMISSION_DENIED',
    })
    t.equal(seen.closes.length, 1)
    await client.close(within(), conn)
    t.equal(seen.closes.length, 2)
  },
)

t.test(
  'an end client may close with an answer that is not the last one, but with no foreign one',
  async (t) => {
    const client = ca.svid('/client')
    // As after a restart: who answers is the same, with a new key.
    const [before, after, stranger] = [ca.svid('/server'), ca.svid('/server'), ca.svid('/server')]
    let called = before
    const answer = (from: Svid): Connection =>
      Connection.fromPartial({
        id: 'x',
        path: {
          index: 0,
          pathSegments: [{ id: 'x', token: token(client, from) }, { token: token(from, client) }],
        },
      })
    const seen = recording()
    const service = chain([
      toUrl('tcp://127.0.0.1:1'),
      dial(async (): Promise<Remote> => {
        const { peer } = as(called)
        const unused = {} as Remote
        return { ...unused, peer: peer!, closed: new AbortController().signal, release: () => undefined }
      }),
      authorizeClient(),
      seen.element,
      { name: 'answering', request: async () => answer(called) },
    ])
    const request = () =>
      service.request(background(), { connection: answer(called), mechanismPreferences: [] })
    const stored = await request()
    called = after
    await request()
    await service.close(background(), stored)
    t.equal(seen.closes.length, 1)
    await request()
    await t.rejects(service.close(background(), answer(stranger)), { code: 'PERMISSION_DENIED' })
    t.equal(seen.closes.length, 1)
  },
)

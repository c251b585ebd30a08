import type { Connection } from '@nsm/api/gen/connection.js'
import { MonitorScopeSelector } from '@nsm/api/gen/connection.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { withTimeout } from '@nsm/sdk/ctx.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import t, { type Test } from 'tap'
import { recording } from '../../kit/elements.ts'
import { ask, mesh, within, type Mesh } from '../../kit/mesh.ts'

const later = (): number => Math.floor(Date.now() / 1000) + 60

/** One server that records what passes its policies, and how to call it as anybody. */
async function target(t: Test) {
  const m = await mesh(t)
  const seen = recording()
  const server = m.hop('nsmgr', undefined, { elements: [seen.element] })
  const as = (path: string, tokens: TokenGenerator = m.tokens, options = {}) =>
    m.network.dial(m.ca.svid(path, options), tokens)(within(), server.url)
  return { m, seen, server, as }
}

const send = (m: Mesh, tokens: TokenGenerator) =>
  m.network.dial(m.ca.svid('/ns/a/pod/client'), tokens)(within(), 'mem://nsmgr')

t.test(
  'tokens that are not the caller’s own, good and new are refused before anything is done',
  async (t) => {
    const { m, seen, server } = await target(t)
    const other = m.ca.svid('/ns/b/pod/other')
    const expires = new Date(later() * 1000)
    const bad: Record<string, TokenGenerator> = {
      missing: () => ({ token: '', expires }),
      garbage: () => ({ token: 'a.b.c', expires }),
      'of 1 MiB': () => ({ token: 'a'.repeat(1 << 20), expires }),
      expired: tokenGenerator({ maxLifetimeMs: -60_000, clock: systemClock }),
      'for another audience': ({ localSvid }) => ({
        token: signEs256({ sub: localSvid.id, aud: [other.id], exp: later() }, localSvid.privateKey),
        expires,
      }),
      'about somebody else': ({ localSvid, spiffeId }) => ({
        token: signEs256({ sub: other.id, aud: [spiffeId], exp: later() }, localSvid.privateKey),
        expires,
      }),
      'signed by another key': ({ localSvid, spiffeId }) => ({
        token: signEs256({ sub: localSvid.id, aud: [spiffeId], exp: later() }, other.privateKey),
        expires,
      }),
      'alg none': ({ localSvid, spiffeId }) => {
        const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
        return {
          token: `${part({ alg: 'none' })}.${part({ sub: localSvid.id, aud: [spiffeId], exp: later() })}.`,
          expires,
        }
      },
    }
    for (const [name, tokens] of Object.entries(bad)) {
      const remote = await send(m, tokens)
      await t.rejects(remote.request(within(), ask()), { code: /PERMISSION_DENIED|INVALID_ARGUMENT/ }, name)
      await t.resolves(remote.close(within(), ask().connection as Connection), 'an unknown one may be closed')
    }
    t.equal(seen.requests.length, 0)
    t.equal(seen.closes.length, 0)
    t.same(server.counts(), { up: 0, down: 0 })
  },
)

t.test('somebody else cannot refresh, reselect, close or watch a connection', async (t) => {
  const { m, seen, server, as } = await target(t)
  const victim = await as('/ns/a/pod/client')
  const conn = await victim.request(within(), ask())
  const thief = await as('/ns/b/pod/thief')
  const stolen = { ...ask(), connection: conn }
  await t.rejects(thief.request(within(), stolen), { code: 'PERMISSION_DENIED' })
  const reselect: NetworkServiceRequest = { ...stolen, connection: { ...conn, state: 3 } }
  await t.rejects(thief.request(within(), reselect), { code: 'PERMISSION_DENIED' })
  await t.rejects(thief.close(within(), conn), { code: 'PERMISSION_DENIED' })
  const asVictim: TokenGenerator = ({ localSvid, spiffeId }) => ({
    token: signEs256(
      { sub: m.ca.svid('/ns/a/pod/client').id, aud: [spiffeId], exp: later() },
      localSvid.privateKey,
    ),
    expires: new Date(later() * 1000),
  })
  const liar = await as('/ns/b/pod/liar', asVictim)
  await t.rejects(liar.request(within(), stolen), { code: 'PERMISSION_DENIED' })
  await t.rejects(liar.close(within(), conn), { code: 'PERMISSION_DENIED' })

  const own = conn.path?.pathSegments[0]
  const forged = {
    ...conn,
    id: 'thief',
    path: {
      index: 1,
      pathSegments: [
        {
          ...own,
          name: 'client',
          id: 'client-0',
          token: own?.token ?? '',
          expires: own?.expires,
          metrics: {},
        },
        { name: 'thief', id: 'thief', token: '', expires: undefined, metrics: {} },
        ...(conn.path?.pathSegments.slice(1) ?? []),
      ],
    },
  }
  await t.rejects(thief.close(within(), forged), { code: 'PERMISSION_DENIED' })

  const heard = await withTimeout(within(), 1_000, async (ctx) => {
    for await (const event of thief.monitor(ctx, MonitorScopeSelector.fromPartial({}))) return event
    return undefined
  })
  t.same(Object.keys(heard?.connections ?? { none: '' }), [], 'nothing to see for others')
  t.equal(seen.requests.length, 1)
  t.equal(seen.closes.length, 0)
  t.same(server.counts(), { up: 1, down: 0 })
  await victim.close(within(), conn)
  t.same(server.counts(), { up: 0, down: 0 })
  t.equal(m.network.sessions, 3)
})

t.test('odd paths are refused and crash nothing', async (t) => {
  const { seen, as } = await target(t)
  const remote = await as('/ns/a/pod/client')
  const segment = (name: string, id = 'client-0') => ({
    name,
    id,
    token: '',
    expires: undefined,
    metrics: {},
  })
  const long = Array.from({ length: 10_000 }, (_, i) => segment(`s${i}`))
  const paths = {
    'no path': undefined,
    'no segments': { index: 0, pathSegments: [] },
    '10⁴ segments': { index: 0, pathSegments: long },
    'at the end of 32': { index: 31, pathSegments: long.slice(0, 32) },
    'index beyond': { index: 1, pathSegments: [segment('client')] },
    'largest index': { index: 4_294_967_295, pathSegments: [segment('client')] },
    'foreign id': { index: 0, pathSegments: [segment('client', 'another')] },
    'empty id': { index: 0, pathSegments: [segment('client', '')] },
    'the server’s own name': { index: 0, pathSegments: [segment('nsmgr')] },
    'own name, empty id': { index: 0, pathSegments: [segment('nsmgr', '')] },
    'long token': { index: 0, pathSegments: [{ ...segment('client'), token: 'x'.repeat(20_000) }] },
    'long in all': {
      index: 0,
      pathSegments: Array.from({ length: 8 }, () => ({ ...segment('client'), token: 'x'.repeat(10_000) })),
    },
  }
  for (const [name, path] of Object.entries(paths)) {
    const base = ask().connection as Connection
    const connection: Connection = { ...base, path }
    const code = /INVALID_ARGUMENT|PERMISSION_DENIED/
    await t.rejects(remote.request(within(), { connection, mechanismPreferences: [] }), { code }, name)
  }
  await t.rejects(remote.request(within(), { connection: undefined, mechanismPreferences: [] }), {
    code: 'INVALID_ARGUMENT',
  })
  t.equal(seen.requests.length, 0)
  t.ok(await remote.request(within(), ask()), 'the server still serves')
})

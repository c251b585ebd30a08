import { withValue, type Ctx } from '@nsm/sdk/ctx.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import { newCall, outgoingCall, type Call } from '@nsm/sdk/transport/call.js'
import { parseToken, signEs256 } from '@nsm/spiffe/es256.js'
import type { X509Svid } from '@nsm/spiffe/svid.js'
import t from 'tap'
import { within } from '../kit/mesh.ts'
import { endpoint, namesFound } from '../kit/registry-conformance.ts'
import { program, registryMesh } from '../kit/registry-mesh.ts'

const paths = {
  nse: '/ns/app/pod/nse',
  nsmgr: '/ns/nsm-system/pod/nsmgr-1',
  registry: '/ns/nsm-system/pod/registry',
}
const idOf = (path: string): string => `spiffe://k8s.nsm${path}`

/** A token as golang-jwt writes it. */
function token({ id, privateKey }: X509Svid, audience: string): string {
  const exp = Math.floor(Date.now() / 1_000) + 600
  return signEs256({ aud: [idOf(audience)], exp, sub: id }, privateKey)
}

/** The metadata of one call, as upstream's nsmgr sends it for a caller of its own. */
function withPath(text: string): { ctx: Ctx; call: Call } {
  const call = newCall()
  call.requestHeaders.set('path', text)
  return { ctx: withValue(within(), outgoingCall, call), call }
}

const pathOf = (index: number, tokens: readonly string[]): string =>
  JSON.stringify({ Index: index, PathSegments: tokens.map((one) => ({ token: one })) })

const answered = ({ responseHeaders }: Call): { Index: number; PathSegments: { token: string }[] } =>
  JSON.parse(responseHeaders.get('path') ?? '{}') as never

t.test('an nsmgr of upstream at our registry: the path, its answer, and whose the name is', async (t) => {
  const mesh = await registryMesh(t)
  const manager = program(t, mesh.ca, paths.nsmgr)
  const remote: Registries = await manager.dialer.dial(within(), mesh.registryUrl)
  const nse = mesh.ca.svid(paths.nse)
  const [svid] = manager.source.current.svids
  const fromNse = token(nse, paths.nsmgr)
  const toNse = token(svid, paths.nse)

  const first = withPath(pathOf(1, [fromNse, toNse]))
  const item = endpoint('e', { url: 'tcp://10.0.0.1:5001', pathIds: [idOf(paths.nse), idOf(paths.nsmgr)] })
  const stored = await remote.networkServiceEndpoints.register(first.ctx, item)
  t.same(stored.pathIds, [paths.nse, paths.nsmgr, paths.registry].map(idOf))
  t.ok(stored.expirationTime)
  const path = answered(first.call)
  t.equal(path.Index, 1, 'the index is the caller’s again')
  const tokens = path.PathSegments.map((one) => one.token)
  t.equal(tokens[0], fromNse)
  t.match(
    tokens.map((one) => parseToken(one)),
    [
      { sub: idOf(paths.nse), aud: [idOf(paths.nsmgr)] },
      { sub: idOf(paths.nsmgr), aud: [idOf(paths.registry)] },
      { sub: idOf(paths.registry), aud: [idOf(paths.nsmgr)] },
    ],
  )

  const refresh = withPath(pathOf(1, [token(nse, paths.nsmgr), ...tokens.slice(1)]))
  const again = await remote.networkServiceEndpoints.register(refresh.ctx, {
    ...stored,
    expirationTime: undefined,
  })
  t.same(again.pathIds, stored.pathIds)
  t.same(again.initialRegistrationTime, stored.initialRegistrationTime)
  t.equal(answered(refresh.call).PathSegments.length, 3)

  const thief = withPath(pathOf(1, [token(mesh.ca.svid('/ns/evil/pod/nse'), paths.nsmgr), toNse]))
  const denied = { code: 'PERMISSION_DENIED' }
  await t.rejects(remote.networkServiceEndpoints.register(thief.ctx, item), denied, 'the name is another’s')
  await t.rejects(remote.networkServiceEndpoints.unregister(thief.ctx, item), denied)
  const torn = withPath(pathOf(1, [token(nse, '/ns/nsm-system/pod/nsmgr-2'), toNse]))
  await t.rejects(
    remote.networkServiceEndpoints.register(torn.ctx, endpoint('f')),
    denied,
    'made for another nsmgr',
  )

  const last = withPath(pathOf(1, tokens))
  await remote.networkServiceEndpoints.unregister(last.ctx, again)
  t.equal(answered(last.call).Index, 1)
  t.same(await namesFound(within(), mesh.stores.networkServiceEndpoints), [])
  await remote.networkServiceEndpoints.unregister(withPath(pathOf(1, tokens)).ctx, again)
})

t.test('without the policies that a mask leaves out, anybody may have a name', async (t) => {
  const mesh = await registryMesh(t, { policyMasks: ['etc/nsm/opa/common/.*.rego'] })
  const as = (path: string): Registries => mesh.client(path, mesh.registryUrl)
  await as('/ns/a/pod/nse').networkServiceEndpoints.register(within(), endpoint('e'))
  const { pathIds } = await as('/ns/b/pod/nse').networkServiceEndpoints.register(within(), endpoint('e'))
  t.equal(pathIds[0], idOf('/ns/b/pod/nse'))
})

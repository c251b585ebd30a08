import { clientAllowed } from '@nsm/sdk/policies/client-allowed.js'
import { nextTokenSigned } from '@nsm/sdk/policies/next-token-signed.js'
import { firstRefusal, readTokens, type TokenPath } from '@nsm/sdk/policies/policy.js'
import { prevTokenNamesPeer } from '@nsm/sdk/policies/prev-token-names-peer.js'
import { prevTokenSigned } from '@nsm/sdk/policies/prev-token-signed.js'
import { serviceConnection } from '@nsm/sdk/policies/service-connection.js'
import { tokensChained } from '@nsm/sdk/policies/tokens-chained.js'
import { tokensExpired } from '@nsm/sdk/policies/tokens-expired.js'
import { tokensValid } from '@nsm/sdk/policies/tokens-valid.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import t from 'tap'
import { testAuthority } from '../../kit/identity.ts'

const ca = await testAuthority('k8s.nsm')
const [a, b, c] = ['/a', '/b', '/c'].map((path) => ca.svid(path)) as [
  ReturnType<typeof ca.svid>,
  ReturnType<typeof ca.svid>,
  ReturnType<typeof ca.svid>,
]
const nowMs = 1_000_000_000
type Svid = typeof a
const token = (from: Svid, to: Svid, exp = 1_000_060): string =>
  signEs256({ sub: from.id, aud: [to.id], exp }, from.privateKey)
const path = (index: number, peer: Svid, ...texts: string[]): TokenPath => ({
  tokens: readTokens(texts),
  index,
  peerKey: peer.certificates[0].publicKey,
  peerId: peer.id,
  nowMs,
})
const good = path(1, a, token(a, b), token(b, c), token(c, b))

t.test('a good path passes all', (t) => {
  const all = [tokensValid, tokensExpired, tokensChained, prevTokenSigned, prevTokenNamesPeer]
  t.equal(firstRefusal(all, good), undefined)
  t.equal(nextTokenSigned({ ...good, peerKey: c.certificates[0].publicKey }), undefined)
  t.equal(firstRefusal([tokensValid, tokensExpired, tokensChained], path(0, a)), undefined, 'nothing to say')
  t.end()
})

t.test('tokens must parse', (t) => {
  t.match(tokensValid(path(1, a, token(a, b), '')), 'segment 1 is not a token')
  t.match(tokensValid(path(1, a, 'x.y.z')), 'segment 0')
  t.end()
})

t.test('tokens must live', (t) => {
  t.match(
    tokensExpired(path(1, a, token(a, b), token(b, c, 1_000_000))),
    'segment 1 has expired',
    'exactly now',
  )
  t.equal(tokensExpired(path(0, a, token(a, b, 1_000_001))), undefined)
  t.match(tokensExpired(path(0, a, 'garbage')), 'expired')
  t.end()
})

t.test('tokens must be made for each other', (t) => {
  t.match(tokensChained(path(1, a, token(a, c), token(b, c))), 'segment 0 was not made for segment 1')
  t.match(tokensChained(path(2, a, token(a, b), token(b, b), token(c, b))), 'segment 1')
  t.equal(tokensChained(path(0, a, token(a, c))), undefined)
  t.end()
})

t.test('the neighbours must have signed their own', (t) => {
  t.match(prevTokenSigned({ ...good, peerKey: b.certificates[0].publicKey }), 'not signed')
  t.match(prevTokenSigned({ ...good, index: 0 }), 'not signed', 'nobody before')
  t.match(prevTokenSigned({ ...good, index: 4_294_967_295 }), 'not signed')
  t.match(nextTokenSigned(good), 'not signed')
  t.match(nextTokenSigned({ ...good, index: 2 }), 'not signed', 'nobody behind')
  const [head, payload, signature = ''] = token(a, b).split('.')
  const forged = `${head}.${payload}.${signature.slice(0, -4)}AAAA`
  t.match(prevTokenSigned(path(1, a, forged, token(b, c))), 'not signed')
  t.end()
})

t.test('a caller names itself', (t) => {
  const borrowed = signEs256({ sub: b.id, aud: [c.id], exp: 1_000_060 }, a.privateKey)
  const lie = path(1, a, borrowed, token(c, a))
  t.equal(prevTokenSigned(lie), undefined, 'signed it has')
  t.match(prevTokenNamesPeer(lie), `is of ${b.id}, not of the caller`)
  t.match(prevTokenNamesPeer({ ...good, index: 0 }), 'not of the caller', 'nobody before')
  t.end()
})

t.test('a name is its owner’s', (t) => {
  t.equal(clientAllowed({ owner: undefined, claimant: a.id }), undefined)
  t.equal(clientAllowed({ owner: a.id, claimant: a.id }), undefined)
  t.match(clientAllowed({ owner: a.id, claimant: b.id }), a.id)
  t.match(clientAllowed({ owner: a.id, claimant: undefined }), a.id)
  t.end()
})

t.test('a connection is told to those on its path', (t) => {
  const tokens = readTokens([token(a, b), token(b, c)])
  t.equal(serviceConnection({ watcher: a.id, tokens }), undefined)
  t.equal(serviceConnection({ watcher: b.id, tokens }), undefined)
  t.match(serviceConnection({ watcher: c.id, tokens }), c.id)
  t.end()
})

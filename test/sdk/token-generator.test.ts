import type { Clock } from '@nsm/sdk/clock.js'
import type { Peer } from '@nsm/sdk/peer.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { jwtVerify } from 'jose'
import t from 'tap'
import { testAuthority, type SvidOptions } from '../kit/identity.ts'

const minuteMs = 60_000
const nowMs = Math.floor(Date.now() / 1_000) * 1_000 + 750
const clock: Clock = { now: () => nowMs, monotonic: () => 0, after: () => () => undefined }
const generate = tokenGenerator({ maxLifetimeMs: 10 * minuteMs, clock })

async function session(own: SvidOptions = {}, theirs: SvidOptions = {}): Promise<Peer> {
  const ca = await testAuthority('k8s.nsm')
  const other = ca.svid('/ns/b/pod/server', theirs)
  return {
    spiffeId: other.id,
    certificate: other.certificates[0],
    localSvid: ca.svid('/ns/a/pod/client', own),
    descriptors: undefined,
  }
}

t.test('a token is about this end, for the other end, and signed by the SVID', async (t) => {
  const peer = await session()
  const { token, expires } = generate(peer)
  const { payload, protectedHeader } = await jwtVerify(token, peer.localSvid.certificates[0].publicKey)
  t.same(protectedHeader, { alg: 'ES256', typ: 'JWT' })
  t.same(payload, {
    sub: 'spiffe://k8s.nsm/ns/a/pod/client',
    aud: ['spiffe://k8s.nsm/ns/b/pod/server'],
    exp: Math.floor((nowMs + 10 * minuteMs) / 1_000),
  })
  t.equal(expires.getTime(), Number(payload.exp) * 1_000)
})

t.test('a token ends with the own SVID', async (t) => {
  const end = new Date(Math.floor(nowMs / 1_000) * 1_000 + minuteMs)
  const peer = await session({ notAfter: end })
  const { token, expires } = generate(peer)
  const { payload } = await jwtVerify(token, peer.localSvid.certificates[0].publicKey)
  t.equal(payload.exp, end.getTime() / 1_000)
  t.same(expires, end)
})

t.test("what is told beside it ends with the other end's SVID", async (t) => {
  const end = new Date(Math.floor(nowMs / 1_000) * 1_000 + minuteMs)
  const peer = await session({}, { notAfter: end })
  const { token, expires } = generate(peer)
  const { payload } = await jwtVerify(token, peer.localSvid.certificates[0].publicKey)
  t.equal(payload.exp, Math.floor((nowMs + 10 * minuteMs) / 1_000))
  t.same(expires, end)
})

t.test('a token is given again for a while, but not to another peer or after a rotation', async (t) => {
  let now = nowMs
  const make = tokenGenerator({ maxLifetimeMs: 10 * minuteMs, clock: { ...clock, now: () => now } })
  const peer = await session()
  const first = make(peer)
  now += 14_000
  t.equal(make(peer), first)
  now += 2_000
  t.not(make(peer).token, first.token, 'a fortieth of its life is over')
  const latest = make(peer)
  now -= 60_000
  t.not(make(peer), latest, 'the clock was set back')
  const rotated = { ...peer, localSvid: (await session()).localSvid }
  t.not(make(rotated).token, make(peer).token)
  t.not(make({ ...peer, spiffeId: 'spiffe://k8s.nsm/other' }).token, make(peer).token)
})

t.test('an RSA SVID is refused with the reason', async (t) => {
  const peer = await session({ keyType: 'rsa' })
  t.throws(() => generate(peer), { code: 'FAILED_PRECONDITION', message: /client.*rsa.*P-256/ })
})

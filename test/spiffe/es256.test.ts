import { generateKeyPairSync, sign } from 'node:crypto'
import { parseToken, signEs256, verifyEs256 } from '@nsm/spiffe/es256.js'
import { jwtVerify, SignJWT } from 'jose'
import t from 'tap'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const claims = { sub: 'spiffe://k8s.nsm/a', aud: ['spiffe://k8s.nsm/b'], exp: 4_102_444_800 }

function part(value: unknown): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

function token(header: unknown, payload: unknown = claims): string {
  const body = `${part(header)}.${part(payload)}`
  return `${body}.${sign('sha256', Buffer.from(body), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

t.test('an independent implementation reads our tokens', async (t) => {
  const { payload, protectedHeader } = await jwtVerify(signEs256(claims, privateKey), publicKey, {
    audience: 'spiffe://k8s.nsm/b',
  })
  t.same(protectedHeader, { alg: 'ES256', typ: 'JWT' })
  t.same(payload, claims)
})

t.test('we read the tokens of an independent implementation', async (t) => {
  const foreign = await new SignJWT({ extra: { deep: true } })
    .setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid: 'x' })
    .setSubject(claims.sub)
    .setAudience(claims.aud)
    .setExpirationTime(claims.exp)
    .sign(privateKey)
  t.same(verifyEs256(foreign, publicKey), claims)
  t.same(parseToken(foreign), claims)
})

t.test('signatures of other keys and changed texts are refused', (t) => {
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const good = signEs256(claims, privateKey)
  const [head, , signature] = good.split('.')
  const changed = [head, part({ ...claims, sub: 'spiffe://k8s.nsm/evil' }), signature].join('.')
  const none = `${head}.${part(claims)}.${Buffer.alloc(64).toString('base64url')}`
  t.throws(() => verifyEs256(good, other.publicKey), { code: 'UNAUTHENTICATED' })
  t.throws(() => verifyEs256(changed, publicKey), { code: 'UNAUTHENTICATED' })
  t.throws(() => verifyEs256(none, publicKey), { code: 'UNAUTHENTICATED' })
  t.throws(() => verifyEs256(good, rsa.publicKey), { code: 'UNAUTHENTICATED', message: /rsa/ })
  t.end()
})

t.test('only EC P-256 keys sign', (t) => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
  const ed = generateKeyPairSync('ed25519').privateKey
  for (const [key, message] of [
    [rsa, /rsa/],
    [p384, /secp384r1/],
    [ed, /ed25519/],
  ] as const) {
    t.throws(() => signEs256(claims, key), { code: 'FAILED_PRECONDITION', message })
  }
  t.end()
})

t.test('what is no ES256 token is refused for a reason', (t) => {
  const good = signEs256(claims, privateKey)
  const [head = '', payload = '', signature = ''] = good.split('.')
  const last = signature.slice(0, -1)
  const bad: Record<string, [string, RegExp]> = {
    empty: ['', /three parts/],
    'two parts': [`${head}.${payload}`, /three parts/],
    'four parts': [`${good}.x`, /three parts/],
    'no algorithm': [token({ typ: 'JWT' }), /algorithm/],
    'alg none': [`${part({ alg: 'none' })}.${payload}.${signature}`, /"none"/],
    'alg HS256': [token({ alg: 'HS256' }), /"HS256"/],
    'alg in lower case': [token({ alg: 'es256' }), /"es256"/],
    'another type': [token({ alg: 'ES256', typ: 'JWE' }), /type/],
    'critical fields': [token({ alg: 'ES256', crit: ['b64'], b64: false }), /critical/],
    'header no object': [token([]), /no object/],
    'header null': [token(null), /no object/],
    'header no JSON': [token('{'), /not JSON/],
    'payload no object': [token({ alg: 'ES256' }, '1'), /no object/],
    'payload not UTF-8': [
      `${head}.${Buffer.of(0x22, 0xff, 0x22).toString('base64url')}.${signature}`,
      /not JSON/,
    ],
    padding: [`${head}.${payload}.${signature}==`, /base64url/],
    'standard base64': [`${head}.${payload}.+${signature.slice(1)}`, /base64url/],
    'second spelling of the last byte': [
      `${head}.${payload}.${last}${signature.at(-1) === 'B' ? 'C' : 'B'}`,
      /base64url/,
    ],
    'empty signature': [`${head}.${payload}.`, /base64url/],
    'short signature': [`${head}.${payload}.${Buffer.alloc(63).toString('base64url')}`, /63 bytes/],
    'DER signature': [`${head}.${payload}.${Buffer.alloc(71).toString('base64url')}`, /71 bytes/],
    'longer than the bound': ['a'.repeat(16 * 1024 + 1), /16385 bytes/],
    'sub no text': [token({ alg: 'ES256' }, { sub: 1 }), /sub/],
    'aud of numbers': [token({ alg: 'ES256' }, { aud: [1] }), /aud/],
    'exp a text': [token({ alg: 'ES256' }, { exp: '1' }), /exp/],
  }
  for (const [name, [text, message]] of Object.entries(bad)) {
    t.throws(() => parseToken(text), { code: 'INVALID_ARGUMENT', message }, name)
    t.throws(() => verifyEs256(text, publicKey), { code: 'INVALID_ARGUMENT' }, name)
  }
  t.end()
})

t.test('claims that may be missing or in another form', (t) => {
  t.same(parseToken(token({ alg: 'ES256' }, {})), { sub: undefined, aud: [], exp: undefined })
  t.same(parseToken(token({ alg: 'ES256' }, { aud: 'one' })).aud, ['one'])
  t.end()
})

import { formatSpiffeId, parseSpiffeId, parseTrustDomain } from '@nsm/spiffe/spiffe-id.js'
import t from 'tap'

t.test('an ID falls into trust domain and path', (t) => {
  t.same(parseSpiffeId('spiffe://k8s.nsm/ns/a/pod/b-1'), {
    id: 'spiffe://k8s.nsm/ns/a/pod/b-1',
    trustDomain: 'k8s.nsm',
    path: '/ns/a/pod/b-1',
  })
  t.same(parseSpiffeId('spiffe://k8s.nsm').path, '')
  t.end()
})

t.test('every rule of the syntax is kept', (t) => {
  const good = [
    'spiffe://a',
    'spiffe://a-b_c.d1/x',
    'spiffe://1.2.3.4/x',
    'spiffe://td/A.b-C_d/...',
    'spiffe://td/.a',
    `spiffe://td/${'a'.repeat(2048 - 12)}`,
    `spiffe://${'a'.repeat(255)}/x`,
  ]
  for (const id of good) t.equal(parseSpiffeId(id).id, id)

  const bad: Record<string, RegExp> = {
    '': /empty/,
    'k8s.nsm/a': /does not start with/,
    'SPIFFE://td/a': /does not start with/,
    'https://td/a': /does not start with/,
    'spiffe:td/a': /does not start with/,
    'spiffe://': /trust domain is missing/,
    'spiffe:///a': /trust domain is missing/,
    'spiffe://K8s.nsm/a': /lower-case/,
    'spiffe://td:80/a': /lower-case/,
    'spiffe://me@td/a': /lower-case/,
    'spiffe://t%20d/a': /lower-case/,
    'spiffe://td?x=1': /lower-case/,
    'spiffe://td#x': /lower-case/,
    'spiffe://tд/a': /lower-case/,
    'spiffe://td/': /ends with a slash/,
    'spiffe://td/a/': /ends with a slash/,
    'spiffe://td//a': /empty segment/,
    'spiffe://td/./a': /dot segment/,
    'spiffe://td/a/..': /dot segment/,
    'spiffe://td/a%2fb': /letters, digits/,
    'spiffe://td/a b': /letters, digits/,
    'spiffe://td/a?b=c': /letters, digits/,
    'spiffe://td/a\n': /letters, digits/,
    'spiffe://td/ä': /letters, digits/,
    [`spiffe://td/${'a'.repeat(2048 - 11)}`]: /2049 bytes/,
    [`spiffe://${'a'.repeat(256)}/x`]: /256 bytes/,
  }
  for (const [id, message] of Object.entries(bad)) {
    t.throws(() => parseSpiffeId(id), { code: 'INVALID_ARGUMENT', message }, JSON.stringify(id.slice(0, 40)))
  }
  t.end()
})

t.test('an error text stays short and on one line, whatever is in the ID', (t) => {
  const id = `spiffe://td/${'\n'.repeat(1_000)}`
  try {
    parseSpiffeId(id)
    t.fail('accepted')
  } catch (err) {
    const { message } = err as Error
    t.ok(message.length < 512)
    t.notMatch(message, /\n/)
  }
  t.end()
})

t.test('a trust domain is known by its name or by an ID in it', (t) => {
  t.equal(parseTrustDomain('k8s.nsm'), 'k8s.nsm')
  t.equal(parseTrustDomain('spiffe://k8s.nsm'), 'k8s.nsm')
  t.equal(parseTrustDomain('spiffe://k8s.nsm/a'), 'k8s.nsm')
  t.throws(() => parseTrustDomain('K8s'), { code: 'INVALID_ARGUMENT' })
  t.throws(() => parseTrustDomain(''), { code: 'INVALID_ARGUMENT' })
  t.end()
})

t.test('an ID is put together only from good parts', (t) => {
  t.equal(formatSpiffeId('td', '/a'), 'spiffe://td/a')
  t.equal(formatSpiffeId('td', ''), 'spiffe://td')
  t.throws(() => formatSpiffeId('td', 'a'), { code: 'INVALID_ARGUMENT' }, 'path would join the trust domain')
  t.throws(() => formatSpiffeId('td', '/../a'), { code: 'INVALID_ARGUMENT' })
  t.end()
})

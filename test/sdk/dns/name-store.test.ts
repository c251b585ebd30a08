import { nameStore } from '@nsm/sdk/dns/name-store.js'
import t from 'tap'

t.test('names lead to addresses of both families, and back', async (t) => {
  const store = nameStore()
  store.set('a', ['Client-1.vl3-dns.'], ['172.16.0.2', '2001:db8::2', 'nonsense'])
  const answers = (name: string, type: string) => store.answer({ name, type })?.answers
  t.match(answers('client-1.vl3-dns.', 'A'), [{ type: 'A', data: '172.16.0.2', ttl: 3600 }])
  t.match(answers('client-1.vl3-dns.', 'AAAA'), [{ type: 'AAAA', data: '2001:db8::2' }])
  t.same(answers('client-1.vl3-dns.', 'TXT'), [], 'it exists')
  t.match(answers('2.0.16.172.in-addr.arpa.', 'PTR'), [{ type: 'PTR', data: 'client-1.vl3-dns' }])
  const six = `2.${'0.'.repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa.`
  t.match(answers(six, 'PTR'), [{ data: 'client-1.vl3-dns' }])
  t.equal(store.answer({ name: 'other.vl3-dns.', type: 'A' }), undefined, 'somebody else may know')
  store.remove('a')
  t.equal(store.answer({ name: 'client-1.vl3-dns.', type: 'A' }), undefined)
  t.equal(store.answer({ name: '2.0.16.172.in-addr.arpa.', type: 'PTR' }), undefined)
})

t.test('two owners of one name share it, and one can leave', async (t) => {
  const store = nameStore()
  store.set('a', ['web.test'], ['10.0.0.1'])
  store.set('b', ['web.test'], ['10.0.0.2'])
  t.equal(store.answer({ name: 'web.test.', type: 'A' })?.answers.length, 2)
  store.remove('a')
  t.match(store.answer({ name: 'web.test.', type: 'A' })?.answers, [{ data: '10.0.0.2' }])
})

t.test('within a zone of its own what is not there does not exist', async (t) => {
  const store = nameStore({ zones: ['cluster.local'], ttlSeconds: 5 })
  store.set('a', ['web.default.svc.cluster.local'], ['10.0.0.1'])
  t.equal(store.answer({ name: 'db.default.svc.cluster.local.', type: 'A' })?.rcode, 'NXDOMAIN')
  t.equal(
    store.answer({ name: 'default.svc.cluster.local.', type: 'A' })?.rcode,
    'NOERROR',
    'a name is below it',
  )
  t.equal(store.answer({ name: 'cluster.local.', type: 'A' })?.rcode, 'NOERROR')
  t.match(store.answer({ name: 'x.cluster.local.', type: 'A' })?.authorities, [{ type: 'SOA', ttl: 5 }])
})

t.test('a change takes the place of what was', async (t) => {
  const store = nameStore()
  store.set('a', ['old.test', 'not a name'], ['10.0.0.1'])
  store.set('a', ['new.test'], ['10.0.0.2'])
  t.equal(store.answer({ name: 'old.test.', type: 'A' }), undefined)
  t.match(store.answer({ name: 'new.test.', type: 'A' })?.answers, [{ data: '10.0.0.2' }])
})

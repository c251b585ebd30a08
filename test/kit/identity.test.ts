import t from 'tap'
import { federation, testAuthority } from './identity.ts'

t.test('a good SVID is signed by its authority and names one workload', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const svid = ca.svid('/ns/a/pod/b')
  const [leaf] = svid.certificates
  t.ok(leaf.verify(ca.root.publicKey))
  t.ok(leaf.checkIssued(ca.root))
  t.ok(leaf.checkPrivateKey(svid.privateKey))
  t.equal(leaf.subjectAltName, 'URI:spiffe://k8s.nsm/ns/a/pod/b')
  t.equal(leaf.ca, false)
  t.equal(ca.root.ca, true)
})

t.test('an intermediate joins the chain', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const via = ca.intermediate()
  const svid = ca.svid('/a', { via })
  t.equal(svid.certificates.length, 2)
  t.ok(svid.certificates[0].verify(via.certificate.publicKey))
  t.ok(via.certificate.checkIssued(ca.root))
})

t.test('a source rotates and tells its listeners', async (t) => {
  const [ca, other] = await Promise.all([testAuthority('a.test'), testAuthority('b.test')])
  const source = ca.source('/x', { bundles: federation(ca, other) })
  const before = source.current.svids[0]
  const seen: string[] = []
  const stop = source.onChange((state) => seen.push(state.svids[0].certificates[0].serialNumber))
  const after = source.rotate()
  stop()
  source.rotate()
  t.same(seen, [after.certificates[0].serialNumber])
  t.not(before.certificates[0].serialNumber, after.certificates[0].serialNumber)
  t.same([...source.current.bundles.keys()], ['a.test', 'b.test'])
})

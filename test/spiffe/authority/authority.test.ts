import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import { chmod, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { anyId } from '@nsm/spiffe/authorise.js'
import type { AuthorityOptions } from '@nsm/spiffe/authority/authority.js'
import { keyFileStore } from '@nsm/spiffe/authority/key-file.js'
import { detailsOf } from '@nsm/spiffe/certificate.js'
import type { SpiffeError } from '@nsm/spiffe/errors.js'
import { X509SVIDRequest } from '@nsm/spiffe/gen/workload.js'
import type { X509Source, X509State } from '@nsm/spiffe/svid.js'
import { secureClientSocket, secureServerSocket } from '@nsm/spiffe/tls.js'
import { verifyChain } from '@nsm/spiffe/verify.js'
import { x509BundleSource, x509Source } from '@nsm/spiffe/workload-api.js'
import { duplexPair } from 'node:stream'
import t, { type Test } from 'tap'
import { nodeListen, runAuthority, type RunningAuthority } from '../../kit/authority.ts'
import { handClock } from '../../kit/clock.ts'

const minuteMs = 60_000
const hourMs = 60 * minuteMs
const id = 'spiffe://k8s.nsm/ns/a/pod/b'

type Options = Omit<AuthorityOptions, 'socketPath' | 'listen' | 'trustDomain' | 'attest'>

async function run(t: Test, options: Options & Partial<AuthorityOptions> = {}): Promise<RunningAuthority> {
  const running = await runAuthority({ trustDomain: 'k8s.nsm', attest: async () => id, ...options })
  t.teardown(async () => running.stop())
  return running
}

async function sourceAt(
  t: Test,
  { address }: RunningAuthority,
  onProblem?: (err: SpiffeError) => void,
): Promise<X509Source> {
  const source = await x509Source({ address, ...(onProblem === undefined ? {} : { onProblem }) })
  t.teardown(() => source.close())
  return source
}

async function change(source: X509Source): Promise<X509State> {
  return new Promise((resolve) => {
    const stop = source.onChange((state) => {
      stop()
      resolve(state)
    })
  })
}

/** One raw call; answers the status it ends with. */
async function statusOf(address: string, method: string, headers: Record<string, string[]>): Promise<number> {
  const client = new Client(`unix:${address.slice('unix://'.length)}`, credentials.createInsecure())
  const metadata = new Metadata()
  for (const [name, values] of Object.entries(headers)) for (const value of values) metadata.add(name, value)
  const call = client.makeServerStreamRequest(
    `/SpiffeWorkloadAPI/${method}`,
    (request: X509SVIDRequest) => Buffer.from(X509SVIDRequest.encode(request).finish()),
    (bytes) => bytes,
    X509SVIDRequest.fromPartial({}),
    metadata,
  )
  return new Promise((resolve) => {
    call.on('data', () => call.cancel())
    call.on('error', (err: ServiceError) => {
      client.close()
      resolve(err.code)
    })
  })
}

t.test('an attested caller gets an SVID that keeps every rule', async (t) => {
  const running = await run(t)
  const source = await sourceAt(t, running)
  const [svid] = source.current.svids
  t.equal(svid.id, id)
  t.equal(verifyChain(svid.certificates, source.current.bundles, Date.now()).id, id)
  const leaf = detailsOf(svid.certificates[0])
  t.same(leaf.keyUsage, { critical: true, digitalSignature: true, keyCertSign: false, cRLSign: false })
  t.same(leaf.extendedKeyUsages, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'])
  t.equal(svid.privateKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
  t.equal(
    leaf.notAfterMs - leaf.notBeforeMs,
    hourMs + minuteMs,
    'an hour, and a minute back for clocks that are behind',
  )
  const [root] = running.authority.roots
  t.ok(root?.ca)
  t.same(detailsOf(root!).uris, ['spiffe://k8s.nsm'])
  t.ok(svid.certificates[0].checkIssued(root!))
  t.match(svid.certificates[0].serialNumber, /^[4-7][0-9A-F]{31}$/)
})

t.test('two workloads meet by what they got', async (t) => {
  const running = await run(t)
  const [server, client] = await Promise.all([sourceAt(t, running), sourceAt(t, running)])
  const [a, b] = duplexPair()
  const signal = new AbortController().signal
  const [s, c] = await Promise.all([
    secureServerSocket(a, server, anyId, signal),
    secureClientSocket(b, client, anyId, signal),
  ])
  t.equal(s.spiffeId.id, id)
  t.not(s.certificate.serialNumber, c.certificate.serialNumber, 'each stream has a key of its own')
  s.socket.destroy()
  c.socket.destroy()
})

t.test('an unknown caller is refused, and let in as soon as it is known', async (t) => {
  let known = false
  const running = await run(t, { attest: async () => (known ? id : undefined) })
  t.equal(await statusOf(running.address, 'FetchX509SVID', { 'workload.spiffe.io': ['true'] }), 7)
  t.equal(await statusOf(running.address, 'FetchX509Bundles', { 'workload.spiffe.io': ['true'] }), 7)
  const source = await sourceAt(t, running, () => (known = true))
  t.equal(source.current.svids[0].id, id)
})

t.test('calls without the header are refused before anybody is attested', async (t) => {
  let asked = 0
  const running = await run(t, { attest: async () => (asked++, id) })
  const bad = [
    {},
    { 'workload.spiffe.io': ['false'] },
    { 'workload.spiffe.io': ['True'] },
    { 'workload.spiffe.io': ['true', 'true'] },
  ]
  for (const headers of bad) {
    for (const method of ['FetchX509SVID', 'FetchX509Bundles']) {
      t.equal(await statusOf(running.address, method, headers), 3, `${method} ${JSON.stringify(headers)}`)
    }
  }
  t.equal(asked, 0)
  t.equal(
    await statusOf(running.address, 'FetchJWTSVID', { 'workload.spiffe.io': ['true'] }),
    12,
    'not served',
  )
})

t.test('the caller is told apart by what the kernel says of its connection', async (t) => {
  let pid = 100
  const attest = async (caller: {
    pid: number
    uid: number
    netnsInode: bigint | undefined
  }): Promise<string> => {
    t.equal(caller.uid, 7)
    t.equal(caller.netnsInode, undefined, 'this listener cannot tell')
    return `spiffe://k8s.nsm/pid/${caller.pid}`
  }
  const running = await run(t, { attest, listen: nodeListen(() => ({ pid: pid++, uid: 7, gid: 7 })) })
  const first = await sourceAt(t, running)
  const second = await sourceAt(t, running)
  t.same(
    [first, second].map((source) => source.current.svids[0].id),
    ['spiffe://k8s.nsm/pid/100', 'spiffe://k8s.nsm/pid/101'],
  )
})

t.test('an attestor that fails or names a foreign ID gives nobody an identity', async (t) => {
  const answers: (() => Promise<string>)[] = [
    async () => Promise.reject(new Error('kubelet is away')),
    async () => 'spiffe://other.test/a',
    async () => 'spiffe://k8s.nsm',
    async () => 'nonsense',
  ]
  const problems: SpiffeError[] = []
  let i = 0
  const running = await run(t, {
    attest: async () => answers[i++]!(),
    onProblem: (err) => problems.push(err),
  })
  for (const _ of answers)
    t.equal(await statusOf(running.address, 'FetchX509SVID', { 'workload.spiffe.io': ['true'] }), 14)
  t.match(
    problems.map(({ message }) => message),
    [/kubelet is away/, /other\.test/, /no workload/, /nonsense/],
  )
})

t.test('SVIDs are renewed at half their life on the open stream, after another attestation', async (t) => {
  const clock = handClock(Date.now())
  let attested = 0
  const running = await run(t, { clock, svidLifeMs: 10 * minuteMs, attest: async () => (attested++, id) })
  const source = await sourceAt(t, running)
  const before = source.current.svids[0].certificates[0]
  const changed = change(source)
  clock.advance(5 * minuteMs - 1)
  t.equal(attested, 1)
  clock.advance(1)
  const after = (await changed).svids[0].certificates[0]
  t.equal(attested, 2)
  t.not(after.serialNumber, before.serialNumber)
  t.equal(detailsOf(after).notAfterMs - detailsOf(before).notAfterMs, 5 * minuteMs)
})

t.test('a workload that is gone is cut off', async (t) => {
  let known = true
  const problems: SpiffeError[] = []
  const running = await run(t, { attest: async () => (known ? id : undefined) })
  const denied = new Promise<void>((resolve) => {
    void sourceAt(t, running, (err) => {
      problems.push(err)
      resolve()
    }).then((source) => {
      known = false
      running.authority.revoke('spiffe://k8s.nsm/ns/a/pod/other')
      running.authority.revoke(id)
      return source
    })
  })
  await denied
  t.match(problems, [{ code: 'PERMISSION_DENIED' }])
})

t.test('a workload that became unknown is cut off at renewal', async (t) => {
  const clock = handClock(Date.now())
  let known = true
  const running = await run(t, {
    clock,
    svidLifeMs: 10 * minuteMs,
    attest: async () => (known ? id : undefined),
  })
  let onProblem: ((err: SpiffeError) => void) | undefined
  const source = await sourceAt(t, running, (err) => onProblem?.(err))
  const problem = new Promise<SpiffeError>((resolve) => (onProblem = resolve))
  known = false
  clock.advance(5 * minuteMs)
  t.match(await problem, { code: 'PERMISSION_DENIED' })
  t.throws(() => source.current, { code: 'PERMISSION_DENIED' })
})

t.test('a new root is published first and signs later; both are trusted meanwhile', async (t) => {
  const clock = handClock(Date.now())
  const running = await run(t, { clock, rootSpreadMs: minuteMs, svidLifeMs: 10 * minuteMs })
  const source = await sourceAt(t, running)
  const bundles = await x509BundleSource({ address: running.address })
  t.teardown(() => bundles.close())
  const [old] = running.authority.roots
  const changed = change(source)
  clock.advance(10_000)
  await running.authority.rotateRoot()
  const { svids, bundles: trusted } = await changed
  const fresh = running.authority.roots[1]
  t.equal(trusted.get('k8s.nsm')?.length, 2)
  t.ok(svids[0].certificates[0].verify(old!.publicKey), 'still signed by the old root')

  const renewed = change(source)
  clock.advance(5 * minuteMs)
  const [svid] = (await renewed).svids
  t.ok(svid.certificates[0].verify(fresh!.publicKey), 'now by the new one')
  t.equal(verifyChain(svid.certificates, source.current.bundles, clock.now()).id, id)
  t.equal(bundles.current.get('k8s.nsm')?.length, 2)
})

t.test('roots renew themselves at half their life, and leave at its end', async (t) => {
  const clock = handClock(Date.now())
  const running = await run(t, { clock, rootLifeMs: 4 * hourMs, svidLifeMs: hourMs })
  const source = await sourceAt(t, running)
  const changed = change(source)
  clock.advance(2 * hourMs)
  await changed
  t.equal(running.authority.roots.length, 2)
  clock.advance(2 * hourMs)
  t.equal(running.authority.roots.length, 1)
})

t.test('the roots outlive a restart when told to', async (t) => {
  const folder = t.testdir()
  const keyFile = path.join(folder, 'roots.pem')
  const first = await runAuthority({
    trustDomain: 'k8s.nsm',
    attest: async () => id,
    rootStore: keyFileStore(keyFile),
  })
  await first.authority.rotateRoot()
  const roots = first.authority.roots.map(({ fingerprint256 }) => fingerprint256)
  const source = await x509Source({ address: first.address })
  const [svid] = source.current.svids
  source.close()
  await first.stop()
  t.equal((await stat(keyFile)).mode & 0o777, 0o600)
  t.same(await readdir(folder), ['roots.pem'], 'no draft is left')

  const second = await run(t, { rootStore: keyFileStore(keyFile) })
  t.same(
    second.authority.roots.map(({ fingerprint256 }) => fingerprint256),
    roots,
  )
  const again = await sourceAt(t, second)
  t.equal(verifyChain(svid.certificates, again.current.bundles, Date.now()).id, id, 'old SVIDs still hold')
  t.equal(verifyChain(again.current.svids[0].certificates, source.current.bundles, Date.now()).id, id)
})

t.test('a key file that cannot be trusted is refused, and left as it was', async (t) => {
  const folder = t.testdir({ nonsense: 'x', 'cut.pem': '' })
  const keyFile = path.join(folder, 'roots.pem')
  const start = async (file: string, trustDomain = 'k8s.nsm'): Promise<void> => {
    const running = await runAuthority({ trustDomain, attest: async () => id, rootStore: keyFileStore(file) })
    await running.stop()
  }
  await start(keyFile)
  const kept = await readFile(keyFile, 'latin1')
  await writeFile(path.join(folder, 'cut.pem'), kept.slice(0, kept.indexOf('-----BEGIN PRIVATE')))
  await Promise.all(['nonsense', 'cut.pem'].map(async (name) => chmod(path.join(folder, name), 0o600)))
  const failed = { code: 'FAILED_PRECONDITION' }
  await t.rejects(start(path.join(folder, 'nonsense')), { ...failed, message: /pairs/ })
  await t.rejects(start(path.join(folder, 'cut.pem')), { ...failed, message: /pairs/ })
  await t.rejects(start(path.join(folder, 'missing', 'roots.pem')), { ...failed, message: /ENOENT/ })
  await t.rejects(start(keyFile, 'other.test'), { ...failed, message: /other domains/ })
  await chmod(keyFile, 0o640)
  await t.rejects(start(keyFile), { ...failed, message: /mode 640/ })
  t.equal(await readFile(keyFile, 'latin1'), kept)
})

t.test('options that cannot work are refused', async (t) => {
  const base = { trustDomain: 'k8s.nsm', attest: async () => id }
  const invalid = { code: 'INVALID_ARGUMENT' }
  await t.rejects(runAuthority({ ...base, trustDomain: 'K8S' }), invalid)
  await t.rejects(runAuthority({ ...base, svidLifeMs: hourMs, rootLifeMs: hourMs }), invalid)
  await t.rejects(runAuthority({ ...base, svidLifeMs: 0 }), invalid)
  const listen = async (): Promise<never> => Promise.reject(new Error('address in use'))
  await t.rejects(runAuthority({ ...base, listen }), { code: 'UNAVAILABLE', message: /address in use/ })
})

t.test('an authority that stops ends its streams; its clients come back to the next one', async (t) => {
  const running = await run(t)
  const problems: SpiffeError[] = []
  const arrived = new Promise<void>((resolve) => {
    void sourceAt(t, running, (err) => {
      problems.push(err)
      resolve()
    }).then(async () => running.authority.close())
  })
  await arrived
  t.match(problems[0], { code: 'UNAVAILABLE' })
})

t.test('rubbish on the socket harms nobody', async (t) => {
  const running = await run(t)
  const { connect } = await import('node:net')
  const socket = connect(running.address.slice('unix://'.length))
  socket.on('error', () => undefined)
  socket.end('GET / HTTP/1.1\r\n\r\n')
  await new Promise((resolve) => void socket.on('close', resolve).resume())
  const source = await sourceAt(t, running)
  t.equal(source.current.svids[0].id, id)
})

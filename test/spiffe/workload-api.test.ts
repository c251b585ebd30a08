import { status } from '@grpc/grpc-js'
import type { SpiffeError } from '@nsm/spiffe/errors.js'
import { X509BundlesResponse, X509SVIDResponse } from '@nsm/spiffe/gen/workload.js'
import type { X509State } from '@nsm/spiffe/svid.js'
import { chainDer } from '@nsm/spiffe/x509-svid.js'
import { x509BundleSource, x509Source } from '@nsm/spiffe/workload-api.js'
import t, { type Test } from 'tap'
import { federation, testAuthority } from '../kit/identity.ts'
import {
  messageOf,
  workloadServer,
  type BundlesCall,
  type SvidCall,
  type WorkloadServer,
} from '../kit/workload-server.ts'

/** A clock whose waits end at once and are written down; its time goes by as they do. */
function hurriedClock(): {
  waits: number[]
  clock: { now(): number; after(ms: number, run: () => void): () => void }
} {
  const waits: number[] = []
  let nowMs = 0
  const after = (ms: number, run: () => void): (() => void) => {
    waits.push(ms)
    nowMs += ms
    const timer = setImmediate(run)
    return () => clearImmediate(timer)
  }
  return { waits, clock: { now: () => nowMs, after } }
}

async function serve(
  t: Test,
  svids: (call: SvidCall) => void,
  bundles?: (call: BundlesCall) => void,
): Promise<WorkloadServer> {
  const server = await workloadServer({ svids, ...(bundles === undefined ? {} : { bundles }) })
  t.teardown(async () => server.stop())
  return server
}

function refuse(call: SvidCall, code: number, details: string): void {
  call.emit('error', { code, details })
}

async function next<T>(subscribe: (listener: (value: T) => void) => () => void): Promise<T> {
  return new Promise((resolve) => {
    const stop = subscribe((value) => {
      stop()
      resolve(value)
    })
  })
}

t.test('the first message resolves, later ones replace the whole state', async (t) => {
  const [a, b] = await Promise.all([testAuthority('a.test'), testAuthority('b.test')])
  const own = a.source('/workload', { bundles: federation(a, b) })
  let call: SvidCall | undefined
  const server = await serve(t, (opened) => {
    call = opened
    call.write(messageOf(own.current))
  })
  const source = await x509Source({ address: server.address })
  t.teardown(() => source.close())
  t.equal(source.current.svids[0].id, 'spiffe://a.test/workload')
  t.ok(source.current.svids[0].certificates[0].checkPrivateKey(source.current.svids[0].privateKey))
  t.same([...source.current.bundles.keys()].sort(), ['a.test', 'b.test'])
  t.same(server.seen[0]?.get('workload.spiffe.io'), ['true'])

  const changed = next<X509State>((listener) => source.onChange(listener))
  const fresh = own.rotate()
  call?.write(messageOf({ svids: [fresh], bundles: a.bundles }))
  t.equal((await changed).svids[0].certificates[0].fingerprint256, fresh.certificates[0].fingerprint256)
  t.same([...source.current.bundles.keys()], ['a.test'], 'a federated bundle that is not named is gone')
  t.equal(server.seen.length, 1, 'one stream for all of it')
})

t.test('a message that breaks a rule is reported and discarded whole', async (t) => {
  const ca = await testAuthority('a.test')
  const stranger = await testAuthority('b.test')
  const good = messageOf(ca.source('/workload').current)
  const [svid] = good.svids
  const twoNames = ca.svid('/workload', { uris: ['spiffe://a.test/a', 'spiffe://a.test/b'] })
  const bad: Record<string, X509SVIDResponse> = {
    'no svids': X509SVIDResponse.fromPartial({}),
    'no id': { ...good, svids: [{ ...svid!, spiffeId: '' }] },
    'no chain': { ...good, svids: [{ ...svid!, x509Svid: Buffer.alloc(0) }] },
    'no key': { ...good, svids: [{ ...svid!, x509SvidKey: Buffer.alloc(0) }] },
    'no bundle': { ...good, svids: [{ ...svid!, bundle: Buffer.alloc(0) }] },
    'another id than the leaf': { ...good, svids: [{ ...svid!, spiffeId: 'spiffe://a.test/other' }] },
    'chain cut short': { ...good, svids: [{ ...svid!, x509Svid: svid!.x509Svid.subarray(0, -1) }] },
    'chain no DER': { ...good, svids: [{ ...svid!, x509Svid: Buffer.from('nonsense') }] },
    'key of another leaf': {
      ...good,
      svids: [{ ...svid!, x509SvidKey: messageOf(ca.source('/x').current).svids[0]!.x509SvidKey }],
    },
    'key no PKCS#8': { ...good, svids: [{ ...svid!, x509SvidKey: Buffer.from('nonsense') }] },
    'bundle no DER': { ...good, svids: [{ ...svid!, bundle: Buffer.from('nonsense') }] },
    'leaf with two names': messageOf({ svids: [twoNames], bundles: ca.bundles }),
    'federated bundle no DER': { ...good, federatedBundles: { 'spiffe://c.test': Buffer.from('nonsense') } },
    'federated domain no domain': { ...good, federatedBundles: { 'C.test': chainDer([stranger.root]) } },
    'good first, broken second': { ...good, svids: [svid!, { ...svid!, x509Svid: Buffer.alloc(0) }] },
  }
  const problems: SpiffeError[] = []
  const server = await serve(t, (call) => {
    call.write(good)
    for (const message of Object.values(bad)) call.write(message)
    call.write(messageOf({ ...ca.source('/last').current }))
  })
  const source = await x509Source({ address: server.address, onProblem: (err) => problems.push(err) })
  t.teardown(() => source.close())
  const seen = [source.current.svids[0].id]
  if (seen[0] !== 'spiffe://a.test/last') {
    seen.push((await next<X509State>((listener) => source.onChange(listener))).svids[0].id)
  }
  t.same(seen.at(-1), 'spiffe://a.test/last')
  t.equal(problems.length, Object.keys(bad).length)
  for (const [i, name] of Object.keys(bad).entries()) t.match(problems[i], { code: 'INVALID_ARGUMENT' }, name)
})

t.test('an empty federated bundle means that nothing of that domain is trusted', async (t) => {
  const ca = await testAuthority('a.test')
  const message = messageOf(ca.source('/workload').current)
  const server = await serve(t, (call) =>
    call.write({ ...message, federatedBundles: { 'b.test': Buffer.alloc(0) } }),
  )
  const source = await x509Source({ address: server.address })
  t.teardown(() => source.close())
  t.same(source.current.bundles.get('b.test'), [])
})

t.test('InvalidArgument is final', async (t) => {
  const server = await serve(t, (call) => refuse(call, status.INVALID_ARGUMENT, 'security header missing'))
  await t.rejects(x509Source({ address: server.address }), {
    code: 'INVALID_ARGUMENT',
    message: /header missing/,
  })
  t.equal(server.seen.length, 1)
})

t.test('PermissionDenied and Unavailable are tried again with longer and longer waits', async (t) => {
  const ca = await testAuthority('a.test')
  const { waits, clock } = hurriedClock()
  const answers = [status.PERMISSION_DENIED, status.UNAVAILABLE, status.INTERNAL, status.PERMISSION_DENIED]
  const problems: SpiffeError[] = []
  const server = await serve(t, (call) => {
    const code = answers.shift()
    if (code === undefined) call.write(messageOf(ca.source('/workload').current))
    else refuse(call, code, 'not now')
  })
  const options = { address: server.address, clock, random: () => 0 }
  const source = await x509Source({ ...options, onProblem: (err) => problems.push(err) })
  t.teardown(() => source.close())
  t.same(waits, [200, 400, 800, 1600])
  t.same(
    problems.map(({ code }) => code),
    ['PERMISSION_DENIED', 'UNAVAILABLE', 'UNAVAILABLE', 'PERMISSION_DENIED'],
  )
})

t.test('an identity that is taken back is not used any more, and returns', async (t) => {
  const ca = await testAuthority('a.test')
  const { clock } = hurriedClock()
  const calls: SvidCall[] = []
  let allowed = true
  const server = await serve(t, (call) => {
    calls.push(call)
    if (allowed) call.write(messageOf(ca.source('/workload').current))
    else refuse(call, status.PERMISSION_DENIED, 'no identity issued')
  })
  let denials = 0
  const denied = new Promise<void>((resolve) => {
    void x509Source({
      address: server.address,
      clock,
      random: () => 0,
      onProblem: (err) => {
        if (err.code !== 'PERMISSION_DENIED') return
        denials += 1
        if (denials < 2) return
        t.throws(() => held?.current, { code: 'PERMISSION_DENIED' })
        allowed = true
        resolve()
      },
    }).then((source) => {
      held = source
      t.teardown(() => source.close())
      allowed = false
      refuse(calls[0]!, status.PERMISSION_DENIED, 'entry deleted')
    })
  })
  let held: Awaited<ReturnType<typeof x509Source>> | undefined
  await denied
  const state = await next<X509State>((listener) => held!.onChange(listener))
  t.equal(held?.current, state)
})

t.test('a stream that ends is opened again at once, the identity stays meanwhile', async (t) => {
  const ca = await testAuthority('a.test')
  const waits: number[] = []
  let nowMs = 0
  const clock = {
    now: () => nowMs,
    after: (ms: number, run: () => void) => {
      waits.push(ms)
      const timer = setImmediate(run)
      return () => clearImmediate(timer)
    },
  }
  const calls: SvidCall[] = []
  const server = await serve(t, (call) => {
    calls.push(call)
    call.write(messageOf(ca.source('/workload').current))
  })
  const source = await x509Source({ address: server.address, clock })
  t.teardown(() => source.close())
  nowMs += 60_000
  const changed = next<X509State>((listener) => source.onChange(listener))
  calls[0]?.end()
  await changed
  t.same(waits, [])
  t.equal(calls.length, 2)
})

t.test('a server that is not there yet is waited for, until the signal', async (t) => {
  const { waits, clock } = hurriedClock()
  const controller = new AbortController()
  const pending = x509Source({
    address: 'unix:///nonexistent/api.sock',
    clock,
    random: () => 0,
    signal: controller.signal,
    onProblem: () => waits.length > 9 && controller.abort(),
  })
  await t.rejects(pending, { code: 'CANCELLED' })
  t.same(waits.slice(0, 9), [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000])
  await t.rejects(x509Source({ address: 'unix:///nonexistent', signal: controller.signal }), {
    code: 'CANCELLED',
  })
})

t.test('the first SVID is the default, or the one with the hint that is asked for', async (t) => {
  const ca = await testAuthority('a.test')
  const svids = [
    ca.svid('/plain'),
    ca.svid('/internal', { hint: 'internal' }),
    ca.svid('/other', { hint: 'internal' }),
    ca.svid('/external', { hint: 'external' }),
  ] as const
  const server = await serve(t, (call) => call.write(messageOf({ svids, bundles: ca.bundles })))
  const paths = async (hint?: string): Promise<string[]> => {
    const source = await x509Source({ address: server.address, ...(hint === undefined ? {} : { hint }) })
    source.close()
    return source.current.svids.map(({ id }) => id.replace('spiffe://a.test', ''))
  }
  t.same(await paths(), ['/plain', '/internal', '/external'], 'of two with one hint the first counts')
  t.same(await paths('external'), ['/external', '/plain', '/internal'])
})

t.test('the address comes from the environment when none is given, and is checked', async (t) => {
  const before = process.env['SPIFFE_ENDPOINT_SOCKET']
  t.teardown(() => {
    if (before === undefined) delete process.env['SPIFFE_ENDPOINT_SOCKET']
    else process.env['SPIFFE_ENDPOINT_SOCKET'] = before
  })
  const ca = await testAuthority('a.test')
  const server = await serve(t, (call) => call.write(messageOf(ca.source('/workload').current)))
  process.env['SPIFFE_ENDPOINT_SOCKET'] = server.address
  const source = await x509Source()
  source.close()
  t.equal(source.current.svids[0].id, 'spiffe://a.test/workload')
  delete process.env['SPIFFE_ENDPOINT_SOCKET']
  await t.rejects(x509Source(), { code: 'INVALID_ARGUMENT', message: /empty/ })
  await t.rejects(x509Source({ address: 'tcp://localhost:1' }), { code: 'INVALID_ARGUMENT' })
})

t.test('a listener that throws harms nobody else', async (t) => {
  const ca = await testAuthority('a.test')
  let call: SvidCall | undefined
  const problems: string[] = []
  const server = await serve(t, (opened) => {
    call = opened
    call.write(messageOf(ca.source('/workload').current))
  })
  const source = await x509Source({ address: server.address, onProblem: (err) => problems.push(err.message) })
  t.teardown(() => source.close())
  source.onChange(() => {
    throw new Error('mine')
  })
  const changed = next<X509State>((listener) => source.onChange(listener))
  call?.write(messageOf(ca.source('/second').current))
  t.equal((await changed).svids[0].id, 'spiffe://a.test/second')
  t.match(problems, [/mine/])
})

t.test('messages above the usual limit of gRPC arrive', async (t) => {
  const ca = await testAuthority('a.test')
  const message = messageOf(ca.source('/workload').current)
  const crl = [Buffer.alloc(5 * 1024 * 1024)]
  const server = await serve(t, (call) => call.write({ ...message, crl }))
  const source = await x509Source({ address: server.address })
  source.close()
  t.equal(source.current.svids[0].id, 'spiffe://a.test/workload')
})

t.test('bundles alone', async (t) => {
  const [a, b] = await Promise.all([testAuthority('a.test'), testAuthority('b.test')])
  const bundles = { 'spiffe://a.test': chainDer([a.root]), 'spiffe://b.test': chainDer([b.root]) }
  const server = await serve(
    t,
    (call) => call.end(),
    (call) => call.write(X509BundlesResponse.fromPartial({ bundles })),
  )
  const source = await x509BundleSource({ address: server.address })
  t.teardown(() => source.close())
  t.same([...source.current.keys()], ['a.test', 'b.test'])
  t.equal(source.current.get('b.test')?.[0]?.fingerprint256, b.root.fingerprint256)
})

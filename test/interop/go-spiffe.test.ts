import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { anyId, oneOf } from '@nsm/spiffe/authorise.js'
import { startAuthority } from '@nsm/spiffe/authority/authority.js'
import { keyFileStore } from '@nsm/spiffe/authority/key-file.js'
import type { SpiffeError } from '@nsm/spiffe/errors.js'
import { parseSpiffeId } from '@nsm/spiffe/spiffe-id.js'
import { secureClientSocket, secureServerSocket } from '@nsm/spiffe/tls.js'
import { verifyChain } from '@nsm/spiffe/verify.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'
import t, { type Test } from 'tap'
import { nodeListen, runAuthority, type RunningAuthority } from '../kit/authority.ts'
import { handClock } from '../kit/clock.ts'
import { buildGo, jsonChild, type JsonChild } from '../kit/go-program.ts'
import { federation, testAuthority, type SvidOptions } from '../kit/identity.ts'

const minuteMs = 60_000
const never = new AbortController().signal
const module = fileURLToPath(new URL('../../interop/go-spiffe', import.meta.url))

t.setTimeout(300_000)
const program = await buildGo(module)

if ('missing' in program) {
  t.pass(`skipped: ${program.missing}`, { skip: program.missing })
} else {
  t.teardown(async () => program.remove())
  tests(program.binary)
}

function tests(binary: string): void {
  const start = (t: Test, ...args: string[]): JsonChild => {
    const child = jsonChild(binary, ...args)
    t.teardown(async () => child.stop())
    return child
  }

  /** Every caller gets an ID of its own, in order. */
  const run = async (
    t: Test,
    options: Partial<Parameters<typeof runAuthority>[0]> = {},
  ): Promise<RunningAuthority> => {
    let callers = 0
    const running = await runAuthority({
      trustDomain: 'k8s.nsm',
      listen: nodeListen(() => ({ pid: ++callers, uid: 0, gid: 0 })),
      attest: async ({ pid }) => `spiffe://k8s.nsm/ns/a/pod/${pid}`,
      ...options,
    })
    t.teardown(async () => running.stop())
    return running
  }

  t.test('go-spiffe takes its identity from our authority and rotates with it', async (t) => {
    // Behind by half a life, so that go's own clock finds valid what is issued at either end of it.
    const clock = handClock(Date.now() - 30 * minuteMs)
    const running = await run(t, { clock, svidLifeMs: 60 * minuteMs, rootSpreadMs: minuteMs })
    const child = start(t, 'watch', running.address)
    const first = await child.next()
    t.match(first, { id: 'spiffe://k8s.nsm/ns/a/pod/1', domains: ['k8s.nsm'], roots: 1 })

    await running.authority.rotateRoot()
    const second = await child.next()
    t.match(second, { serial: first['serial'], roots: 2 }, 'a new root is pushed at once')

    clock.advance(30 * minuteMs)
    const third = await child.next()
    t.match(third, { id: 'spiffe://k8s.nsm/ns/a/pod/1', roots: 2 })
    t.not(third['serial'], first['serial'], 'a new SVID at half its life')
  })

  t.test('go-spiffe comes back to an authority that was restarted', async (t) => {
    const rootStore = keyFileStore(path.join(t.testdir(), 'roots.pem'))
    const running = await run(t, { rootStore })
    const child = start(t, 'watch', running.address)
    const first = await child.next()
    await running.authority.close()
    t.match(await child.next(), { problem: /Unavailable/ })
    const again = await startAuthority({
      trustDomain: 'k8s.nsm',
      socketPath: running.address.slice('unix://'.length),
      listen: nodeListen(),
      attest: async () => String(first['id']),
      rootStore,
    })
    t.teardown(async () => again.close())
    for (let state = await child.next(); ; state = await child.next()) {
      if ('problem' in state) continue
      t.match(state, { id: first['id'], roots: 1 })
      break
    }
  })

  t.test('go-spiffe is refused as the specification says', async (t) => {
    const running = await run(t, { attest: async () => undefined })
    t.match(await start(t, 'watch', running.address).next(), {
      problem: /PermissionDenied.*no identity issued/,
    })
    t.match(await start(t, 'bundles', running.address).next(), { error: /PermissionDenied/ })
  })

  t.test('go-spiffe reads our bundles', async (t) => {
    const running = await run(t)
    t.same(await start(t, 'bundles', running.address).next(), { domain: 'k8s.nsm', roots: 1 })
  })

  t.test('a client of go-spiffe and our server meet', async (t) => {
    const running = await run(t)
    const source = await x509Source({ address: running.address })
    t.teardown(() => source.close())
    const socketPath = path.join(running.folder, 'server.sock')
    const listener = net.createServer().listen(socketPath)
    t.teardown(() => listener.close())
    await once(listener, 'listening')
    const accepted = once(listener, 'connection') as Promise<[net.Socket]>
    const child = start(t, 'dial', running.address, socketPath)
    const [raw] = await accepted
    const { socket, spiffeId } = await secureServerSocket(raw, source, anyId, never)
    t.equal(spiffeId.id, 'spiffe://k8s.nsm/ns/a/pod/2')
    socket.end('hello\n')
    t.same(await child.next(), { server: 'spiffe://k8s.nsm/ns/a/pod/1', said: 'hello', alpn: 'h2' })
  })

  t.test('our client and a server of go-spiffe meet', async (t) => {
    const running = await run(t)
    const socketPath = path.join(running.folder, 'server.sock')
    t.match(await start(t, 'serve', running.address, socketPath).next(), { listening: socketPath })
    const source = await x509Source({ address: running.address })
    t.teardown(() => source.close())
    const { socket, spiffeId } = await secureClientSocket(net.connect(socketPath), source, anyId, never)
    t.equal(spiffeId.id, 'spiffe://k8s.nsm/ns/a/pod/1')
    const [said] = (await once(socket, 'data')) as [Buffer]
    t.equal(said.toString(), 'spiffe://k8s.nsm/ns/a/pod/2\n')
    socket.destroy()
    const choosy = secureClientSocket(net.connect(socketPath), source, oneOf('spiffe://k8s.nsm/other'), never)
    await t.rejects(choosy, { code: 'PERMISSION_DENIED' })
  })

  t.test('our client takes its identity from a Workload API on grpc-go, and rotates with it', async (t) => {
    const socketPath = path.join(await mkdtemp(path.join(tmpdir(), 'go-agent-')), 'agent.sock')
    t.teardown(async () => rm(path.dirname(socketPath), { recursive: true, force: true }))
    const agent = start(t, 'agent', socketPath)
    await agent.next()
    const problems: SpiffeError[] = []
    let onProblem: (() => void) | undefined
    const source = await x509Source({
      address: `unix://${socketPath}`,
      onProblem(err) {
        problems.push(err)
        onProblem?.()
      },
    })
    t.teardown(() => source.close())
    const prove = (): string =>
      verifyChain(source.current.svids[0].certificates, source.current.bundles, Date.now()).id
    t.equal(prove(), 'spiffe://go.test/workload')
    const before = source.current.svids[0].certificates[0].fingerprint256

    const changed = new Promise<void>((resolve) => void source.onChange(() => resolve()))
    agent.stdin.write('rotate\n')
    await changed
    t.equal(prove(), 'spiffe://go.test/workload')
    t.not(source.current.svids[0].certificates[0].fingerprint256, before)

    const denied = new Promise<void>((resolve) => (onProblem = resolve))
    agent.stdin.write('deny\n')
    await denied
    t.match(problems, [{ code: 'PERMISSION_DENIED', message: /100% gone – denied/ }])
    t.throws(() => source.current, { code: 'PERMISSION_DENIED' })

    const back = new Promise<void>((resolve) => void source.onChange(() => resolve()))
    agent.stdin.write('rotate\n')
    await back
    t.equal(prove(), 'spiffe://go.test/workload')
  })

  t.test('both come to the same verdict on SVIDs', async (t) => {
    const [ca, other] = await Promise.all([testAuthority('k8s.nsm'), testAuthority('other.test')])
    const bundles = federation(ca, other)
    const cases: Record<string, SvidOptions> = {
      good: {},
      'RSA key': { keyType: 'rsa' },
      'DNS names': { dnsNames: ['a.example.org'] },
      'below an intermediate': { via: ca.intermediate() },
      'below an intermediate of another domain': { via: other.intermediate() },
      'below one that is no CA': { via: ca.intermediate({ ca: false }) },
      'below one without keyCertSign': { via: ca.intermediate({ usages: ['digitalSignature'] }) },
      'below one that has expired': { via: ca.intermediate({ notAfter: new Date(Date.now() - 1_000) }) },
      expired: { notAfter: new Date(Date.now() - 1_000) },
      'not valid yet': { notBefore: new Date(Date.now() + minuteMs) },
      'two URI names': { uris: ['spiffe://k8s.nsm/a', 'spiffe://k8s.nsm/b'] },
      'no URI name': { uris: [] },
      'upper-case trust domain': { uris: ['spiffe://K8S.nsm/a'] },
      'foreign ID': { uris: ['spiffe://other.test/a'] },
      'unknown domain': { uris: ['spiffe://third.test/a'] },
      'a CA': { ca: true },
      keyCertSign: { usages: ['digitalSignature', 'keyCertSign'] },
      cRLSign: { usages: ['digitalSignature', 'cRLSign'] },
    }
    const stricter: Record<string, SvidOptions> = {
      'root path': { uris: ['spiffe://k8s.nsm'] },
      'key usage not critical': { usagesCritical: false },
      'for servers only': { extendedUsages: ['1.3.6.1.5.5.7.3.1'] },
    }
    const child = start(t, 'verify')
    const verdicts = new Set<boolean>()
    for (const [name, options] of Object.entries({ ...cases, ...stricter })) {
      const { certificates } = ca.svid('/a', options)
      const base64 = (list: readonly { raw: Buffer }[]): string[] =>
        list.map(({ raw }) => raw.toString('base64'))
      const asked = {
        chain: base64(certificates),
        bundles: Object.fromEntries([...bundles].map(([domain, roots]) => [domain, base64(roots)])),
      }
      child.stdin.write(`${JSON.stringify(asked)}\n`)
      const theirs = await child.next()
      let ours: Record<string, string>
      try {
        ours = { id: verifyChain(certificates, bundles, Date.now()).id }
      } catch (err) {
        ours = { error: (err as Error).message }
      }
      const expected = 'id' in theirs && !(name in stricter)
      t.equal(
        'id' in ours,
        expected,
        `${name}: ours ${JSON.stringify(ours)}, theirs ${JSON.stringify(theirs)}`,
      )
      verdicts.add('id' in ours)
    }
    t.equal(verdicts.size, 2)
  })

  t.test('both come to the same verdict on SPIFFE IDs', async (t) => {
    const texts = [
      'spiffe://td',
      'spiffe://td/a',
      'spiffe://t-d_1.2/A.b_c-d',
      'spiffe://td/...',
      `spiffe://td/${'a'.repeat(2000)}`,
      '',
      'spiffe://',
      'spiffe:///a',
      'spiffe://td/',
      'spiffe://td//a',
      'spiffe://td/./a',
      'spiffe://td/../a',
      'spiffe://TD/a',
      'SPIFFE://td/a',
      'spiffe://td:1/a',
      'spiffe://u@td/a',
      'spiffe://td/a%41',
      'spiffe://td/ä',
      'spiffe://td?q',
      'spiffe://td/a?q',
      'spiffe://td#f',
      'http://td/a',
      'spiffe:/td/a',
      'td/a',
      'spiffe://td/a b',
    ]
    const child = start(t, 'ids')
    for (const text of texts) {
      child.stdin.write(`${JSON.stringify(text)}\n`)
      let ok = true
      try {
        parseSpiffeId(text)
      } catch {
        ok = false
      }
      t.same(await child.next(), { ok }, JSON.stringify(text.slice(0, 40)))
    }
  })
}

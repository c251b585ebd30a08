import { fstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { dialer, type Dialer, type DialerOptions } from '@nsm/sdk/transport/client.js'
import { startServer, type RunningServer, type ServerOptions } from '@nsm/sdk/transport/server.js'
import { silent } from '@nsm/sdk/log.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import type { Test } from 'tap'
import { testAuthority, type TestAuthority, type TestSource } from './identity.ts'

/** A server and a dialer of one trust domain, over TCP on the loopback unless told otherwise. */
export interface TestPair {
  readonly ca: TestAuthority
  readonly serverSource: TestSource
  readonly clientSource: TestSource
  readonly server: RunningServer
  readonly dialer: Dialer
  readonly url: string
}

type PairOptions = Pick<ServerOptions, 'services'> &
  Partial<ServerOptions> & { readonly client?: Partial<DialerOptions> }

/** Names both ends instead of signing: the tests of tokens are elsewhere. */
export const plainTokens: TokenGenerator = (peer) => ({
  token: `token of ${peer.localSvid.id} for ${peer.spiffeId}`,
  expires: new Date(1_800_000_000_123),
})

/** Both ends are closed with the test. */
export async function transportPair(t: Test, options: PairOptions): Promise<TestPair> {
  const ca = await testAuthority('k8s.nsm')
  const serverSource = ca.source('/ns/nsm-system/pod/nsmgr')
  const clientSource = ca.source('/ns/default/pod/client')
  const listenOn = ['tcp://127.0.0.1:0']
  const server = await startServer({ listenOn, source: serverSource, log: silent, ...options })
  t.teardown(() => server.close(0))
  const client = dialer({ source: clientSource, tokens: plainTokens, dialTimeoutMs: 5000, ...options.client })
  t.teardown(() => client.close())
  return { ca, serverSource, clientSource, server, dialer: client, url: server.urls[0] ?? '' }
}

/** A context that gives up after `ms`, so that a test which would hang fails. */
export function ctxFor(ms: number): Ctx {
  return { ...background({ signal: AbortSignal.timeout(ms) }), deadlineMs: Date.now() + ms }
}

/** The same over a unix socket that carries descriptors. */
export function unixPair(t: Test, options: PairOptions): Promise<TestPair> {
  const unix = { connectUnix, listenUnix }
  const dir = mkdtempSync(join(tmpdir(), 'nsm-transport-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const listenOn = [`unix://${dir}/s.sock`]
  return transportPair(t, { unix, listenOn, ...options, client: { unix, ...options.client } })
}

/** A new network namespace, closed with the test. */
export async function newNetns(t: Test): Promise<{ fd: number; fileUrl: string; inodeUrl: string }> {
  const fd = await native.createNetns()
  t.teardown(() => native.close(fd))
  const { dev, inode } = native.describe(fd)
  return { fd, fileUrl: `file:///proc/self/fd/${fd}`, inodeUrl: `inode://${dev}/${inode}` }
}

/** How many descriptors of this process are open for the file of `fd`; 1 = `fd` alone. */
export function openCount(fd: number): number {
  const { dev, ino } = fstatSync(fd, { bigint: true })
  return readdirSync('/proc/self/fd').filter((name) => {
    try {
      const found = fstatSync(Number(name), { bigint: true })
      return found.ino === ino && found.dev === dev
    } catch {
      return false
    }
  }).length
}

import { background, type Ctx } from '@nsm/sdk/ctx.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { dialer, type Dialer, type DialerOptions } from '@nsm/sdk/transport/client.js'
import { startServer, type RunningServer, type ServerOptions } from '@nsm/sdk/transport/server.js'
import { silent } from '@nsm/sdk/log.js'
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

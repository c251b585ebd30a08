import type { Connection, PathSegment } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { formatInodeUrl } from '@nsm/sdk/descriptors.js'
import { silent } from '@nsm/sdk/log.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import type { UnixTransport } from '@nsm/sdk/transport/unix.js'
import type { X509Source } from '@nsm/spiffe/svid.js'

/** What became of one attempt; `code` is `OK` when nobody refused it. */
export interface Attempt {
  readonly code: string
  readonly message: string
}

/** What the test tells the program. */
export interface Orders {
  /** The mesh's own trust domain. */
  readonly trustDomain: string
  readonly service: string
  /** Somebody else's connection: ids of its path, client first. */
  readonly victim: readonly { readonly name: string; readonly id: string }[]
  /** A token that another pod has made for the manager. */
  readonly stolenToken: string
  /** SPIFFE ID of that pod. */
  readonly otherId: string
  readonly endpointName: string
  /** `inode://…` of the victim's network namespace. */
  readonly victimNetns: string
  readonly registryUrl: string
  readonly managerTcpUrl: string
}

export const agent = 'unix:///run/spire/sockets/agent.sock'
const folder = '/var/lib/networkservicemesh'
export const manager: string = `unix://${folder}/nsm.io.sock`
export const forwarder: string = `unix://${folder}/forwarder-node-1.sock`
export const unix: UnixTransport = { connectUnix, listenUnix }
export const ownTokens: TokenGenerator = tokenGenerator({ maxLifetimeMs: 60_000, clock: systemClock })
export const later = (): number => Math.floor(Date.now() / 1_000) + 60
let serial = 0

export type Attempts = Record<string, () => Promise<unknown>>

/** One session to one process with these tokens. */
export async function session(
  source: X509Source,
  url: string,
  tokens: TokenGenerator = ownTokens,
): Promise<Remote> {
  const dialled = dialer({ source, tokens, unix, dialTimeoutMs: 5_000, log: silent })
  return dialled.dial(within(), url)
}

export function within(ms = 5_000): Ctx {
  return { ...background(), signal: AbortSignal.timeout(ms), deadlineMs: Date.now() + ms }
}

export function segment(name: string, id: string, token = ''): PathSegment {
  return { name, id, token, expires: new Date(later() * 1_000), metrics: {} }
}

/** A first request of one's own. */
export function ask(
  service: string,
  connection: Partial<Connection> = {},
  parameters: Record<string, string> = {},
): NetworkServiceRequest {
  const id = `hostile-${process.pid}-${serial++}`
  return NetworkServiceRequest.fromPartial({
    connection: {
      id,
      networkService: service,
      path: { index: 0, pathSegments: [segment('hostile', id)] },
      ...connection,
    },
    mechanismPreferences: [{ cls: 'LOCAL', type: 'KERNEL', parameters }],
  })
}

export function ownNetns(): Record<string, string> {
  const fd = native.ownNetns()
  try {
    return { inodeURL: formatInodeUrl(native.describe(fd)), name: 'nsm-9' }
  } finally {
    native.close(fd)
  }
}

import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { backoff } from '@nsm/spiffe/backoff.js'
import type { Informer } from '@nsm/kubernetes/informer.js'
import { keptSecret, type KeptSecret } from '@nsm/kubernetes/kept-secret.js'
import { listenUnix } from '@nsm/native/unix-socket.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { startAuthority, type Authority } from '@nsm/spiffe/authority/authority.js'
import type { AgentConfig, IdentityConfig } from '../config.ts'
import type { NodePod } from '../node-pods.ts'
import { idOf, podAttestor, type AttestationResult, type Naming } from './attest.ts'
import { secretRoots } from './secret-roots.ts'

export interface IdentityOptions {
  readonly config: IdentityConfig & Pick<AgentConfig, 'nodeName'>
  readonly client: ApiClient
  /** Where the Secret is. */
  readonly namespace: string
  readonly pods: Informer<NodePod>
  readonly log: Logger
  readonly attested: (result: AttestationResult) => void
}

/** The identities of this node's pods. */
export interface NodeIdentity {
  /** Why no identities are given yet; undefined = they are. */
  readonly problem: string | undefined
  /** When the newest root expires, ms since the epoch; undefined = there is none yet. */
  readonly expiresMs: number | undefined
  /** Rejects when the configuration can never work; else it does not settle. */
  readonly failed: Promise<never>
  close(): Promise<void>
}

/** All agents renewing in one moment would meet at the API server. */
const renewalJitterMs = 600_000
/** Of a root's life: how long a new one is only published. Nodes may be cut off from the API server that long. */
const spreadShare = 7
const firstRetryMs = 500
const longestRetryMs = 15_000

/**
 * Serves the Workload API to the pods of this node, with the roots that all agents share. Answers at once: it begins to serve when the roots are
 * known, and is tried again until then. A pod that is gone loses its streams.
 */
export function startIdentity(options: IdentityOptions): NodeIdentity {
  const { config, pods, log } = options
  const { trustDomain, nodeName } = config
  const naming: Naming = { trustDomain, partsNamespace: options.namespace, nodeName }
  const attestor = podAttestor({ pods, naming, clock: systemClock, log, ended: options.attested })
  const end = new AbortController()
  let authority: Authority | undefined
  let secret: KeptSecret | undefined
  let problem: string | undefined = 'the roots are not read yet'

  const open = async (): Promise<void> => {
    secret ??= await keptSecret({
      client: options.client,
      namespace: options.namespace,
      name: config.identitySecret,
      log,
    })
    await mkdir(dirname(config.identitySocket), { recursive: true, mode: 0o755 })
    authority = await startAuthority({
      trustDomain: config.trustDomain,
      socketPath: config.identitySocket,
      listen: listenUnix,
      attest: attestor.attest,
      svidLifeMs: config.svidLifeMs,
      rootLifeMs: config.rootLifeMs,
      rootSpreadMs: config.rootLifeMs / spreadShare,
      rootStore: secretRoots(secret),
      renewalJitterMs: Math.min(renewalJitterMs, config.rootLifeMs / 100),
      onProblem: (err) => log.warn({ code: err.code, err: err.message }, 'workload api'),
    })
    problem = undefined
    log.info({ socket: config.identitySocket, trust_domain: config.trustDomain }, 'identities are given')
  }
  const opening = untilDone(open, { signal: end.signal, failed: (why) => (problem = why), log })
  const failed = new Promise<never>((_, reject) => void opening.catch(reject))
  const stopWatching = pods.onChange(({ type, object }) => {
    const id = idOf(naming, object)
    const hasSuccessor = [...pods.values()].some((other) => idOf(naming, other) === id)
    if (type === 'deleted' && !hasSuccessor) authority?.revoke(id)
  })

  return {
    failed,
    get problem() {
      return problem
    },
    get expiresMs() {
      const newest = authority?.roots.at(-1)
      return newest === undefined ? undefined : Date.parse(newest.validTo)
    },
    async close() {
      end.abort(new NsmError('CANCELLED', 'the agent is stopping'))
      stopWatching()
      await opening.catch(() => undefined)
      attestor.close()
      await authority?.close()
      secret?.close()
    },
  }
}

/** Tries again, later each time, until it works or the signal aborts; rejects with INVALID_ARGUMENT, which no other try would change. */
async function untilDone(
  body: () => Promise<void>,
  options: { readonly signal: AbortSignal; readonly failed: (why: string) => void; readonly log: Logger },
): Promise<void> {
  const { signal, failed, log } = options
  const pause = backoff({ minMs: firstRetryMs, maxMs: longestRetryMs, random: Math.random })
  while (!signal.aborted) {
    try {
      return await body()
    } catch (reason) {
      const { code, message } = NsmError.from(reason)
      if (code === 'INVALID_ARGUMENT') throw reason
      failed(message)
      const retryMs = Math.round(pause.next())
      log.warn({ code, err: message, retry_ms: retryMs }, 'no identities can be given yet')
      await sleep({ clock: systemClock, signal }, retryMs).catch(() => undefined)
    }
  }
}

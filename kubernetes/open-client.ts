import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import { systemClock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Access } from './access.ts'
import type { ApiClient, KubernetesObject, PatchType } from './api-client.ts'
import { caller, type Caller } from './caller.ts'
import { connections } from './connections.ts'
import { inCluster } from './in-cluster.ts'

export interface ClientOptions {
  /** File; default those of KUBECONFIG, or the pod's service account, or `~/.kube/config`. */
  readonly kubeconfig?: string | undefined
  /** Of the kubeconfig; default its current one. */
  readonly context?: string | undefined
  /** As `nsm-registry/1.2.3`; what stands before `/` owns what server-side apply writes. */
  readonly userAgent: string
  /** Calls a second in the long run (default 20), and at once (default twice as many). */
  readonly qps?: number
  readonly burst?: number
  readonly log: Logger
  /** How long a call may wait for its turn, and how long it may take then, trying again included; default 15 s each. */
  readonly timeoutMs?: number
  /** Where kubelet puts the pod's service account. */
  readonly serviceAccountFolder?: string
  /** Default the process' own. */
  readonly env?: Readonly<Record<string, string | undefined>>
}

const defaultQps = 20
const defaultTimeoutMs = 15_000

/**
 * A client with the credentials that are at hand. Nothing is sent yet. Its calls reject with UNAUTHENTICATED when a kubeconfig's program gives no credentials.
 * @throws NsmError INVALID_ARGUMENT (kubeconfig), FAILED_PRECONDITION (no credentials)
 */
export async function openApiClient(options: ClientOptions): Promise<ApiClient> {
  const access = await accessOf(options)
  const { qps = defaultQps, burst = Math.ceil(qps * 2), timeoutMs = defaultTimeoutMs } = options
  const { userAgent, log } = options
  log.debug({ server: access.server.host, namespace: access.namespace }, 'API server')
  const rate = { perSecond: qps, burst }
  const calls = caller({
    connections: connections(access),
    host: access.server.host,
    userAgent,
    rate,
    timeoutMs,
  })
  return clientOf(calls, access.namespace, userAgent.split('/', 1)[0] ?? userAgent)
}

async function accessOf(options: ClientOptions): Promise<Access> {
  const { kubeconfig, context, serviceAccountFolder, env = process.env } = options
  if (kubeconfig !== undefined) return fromFiles([kubeconfig], context)
  const named = (env['KUBECONFIG'] ?? '').split(delimiter).filter((file) => file !== '')
  if (named.length > 0) return fromFiles(named, context)
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env
  if (host !== undefined && host !== '' && context === undefined) {
    return inCluster({ host, port }, systemClock, serviceAccountFolder)
  }
  return fromFiles([join(env['HOME'] ?? homedir(), '.kube', 'config')], context)
}

/** In a file of its own: reading kubeconfig files takes 19 MB, which no daemon in a cluster needs. */
async function fromFiles(files: readonly string[], context: string | undefined): Promise<Access> {
  const { kubeconfigAccess } = await import('./kubeconfig.ts')
  return kubeconfigAccess(files, context)
}

const patchTypes: Readonly<Record<PatchType, string>> = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
}

function clientOf(calls: Caller, namespace: string, manager: string): ApiClient {
  return {
    namespace,
    get: (path, signal) => calls.json({ method: 'GET', path, signal }),
    create: (path, object) => calls.json({ method: 'POST', path, body: object }),
    replace: (path, object) => calls.json({ method: 'PUT', path, body: object }),
    patch: (path, patch, type) =>
      calls.json({
        method: 'PATCH',
        path: type === 'apply' ? managed(path, manager) : path,
        body: patch,
        contentType: patchTypes[type],
      }),
    async delete(path, preconditions) {
      // With a body the server does not read the query.
      const body = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions }
      await calls.json<KubernetesObject>({
        method: 'DELETE',
        path,
        ...(preconditions === undefined ? {} : { body }),
      })
    },
    stream: (path, signal) => calls.stream(path, signal),
    close: () => calls.close(new NsmError('CANCELLED', 'the client of the API server was closed')),
  }
}

function managed(path: string, manager: string): string {
  const [, query = ''] = path.split('?', 2)
  if (new URLSearchParams(query).has('fieldManager')) return path
  return `${path}${query === '' ? '?' : '&'}fieldManager=${encodeURIComponent(manager)}`
}

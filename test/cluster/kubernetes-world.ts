import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { pkiFile } from './harness/pki.ts'
import { ownApiServer, type RestartableApiServer } from './own-api-server.ts'

/** One rule of RBAC; `namespace` undefined = in the whole cluster. */
export interface Rights {
  readonly namespace?: string
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly resourceNames?: readonly string[]
  readonly verbs: readonly string[]
}

/** How a pod with a service account finds the API server. */
export interface PodAccess {
  readonly env: Readonly<Record<string, string>>
  readonly serviceAccountFolder: string
  /** File with the same. */
  readonly kubeconfig: string
}

/** An API server with accounts that have no more rights than they need. */
export interface KubernetesWorld extends RestartableApiServer {
  /** Of an administrator. */
  readonly client: ApiClient
  readonly kubeconfig: string
  /** A service account of `nsm-system` with these rights and no others. */
  account(t: Test, name: string, rights: readonly Rights[]): Promise<PodAccess>
}

const namespace = 'nsm-system'

/** Starts an API server without nodes, until the test file ends. */
export async function kubernetesWorld(t: Test, prefix: string): Promise<KubernetesWorld> {
  const { layout, client, restart } = await ownApiServer(t, prefix)
  await client.create('/api/v1/namespaces', { metadata: { name: namespace } })

  return {
    ...restart,
    client,
    kubeconfig: layout.kubeconfig,
    async account(t, name, rights) {
      await grant(client, name, rights)
      const { status } = await client.create<TokenRequest>(
        `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
        { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata: {}, spec: {} },
      )
      const folder = await mkdtemp(path.join(tmpdir(), 'nsm-account-'))
      t.teardown(() => rm(folder, { recursive: true, force: true }))
      const [token, ca] = [status?.token ?? '', await readFile(pkiFile(layout, 'ca.crt'))]
      await writeFile(path.join(folder, 'token'), token)
      await writeFile(path.join(folder, 'ca.crt'), ca)
      await writeFile(path.join(folder, 'namespace'), namespace)
      const env = { KUBERNETES_SERVICE_HOST: layout.controlAddress, KUBERNETES_SERVICE_PORT: '6443' }
      const file = path.join(folder, 'kubeconfig')
      const cluster = { server: layout.server, 'certificate-authority-data': ca.toString('base64') }
      await writeFile(file, kubeconfigText(cluster, { token }))
      return { env, serviceAccountFolder: folder, kubeconfig: file }
    },
  }
}

/** A kubeconfig file with one context, whose namespace is `nsm-system`. */
function kubeconfigText(cluster: object, user: object): string {
  return stringify({
    'current-context': 'only',
    clusters: [{ name: 'only', cluster }],
    users: [{ name: 'only', user }],
    contexts: [{ name: 'only', context: { cluster: 'only', user: 'only', namespace } }],
  })
}

interface TokenRequest extends KubernetesObject {
  readonly status?: { readonly token: string }
}

async function grant(client: ApiClient, name: string, rights: readonly Rights[]): Promise<void> {
  await client.create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata: { name } })
  const subjects = [{ kind: 'ServiceAccount', namespace, name }]
  const base = '/apis/rbac.authorization.k8s.io/v1'
  for (const [at, { namespace: where, ...rule }] of rights.entries()) {
    const kind = where === undefined ? 'ClusterRole' : 'Role'
    const folder = where === undefined ? base : `${base}/namespaces/${where}`
    const metadata = { name: `${name}-${at}` }
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind, name: metadata.name }
    await client.create(`${folder}/${kind.toLowerCase()}s`, { metadata, rules: [rule] })
    await client.create(`${folder}/${kind.toLowerCase()}bindings`, { metadata, subjects, roleRef })
  }
}

import { readFile } from 'node:fs/promises'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import {
  kubernetesStores,
  type KubernetesStores,
  type StoresOptions,
} from '@nsm/registry/kubernetes/stores.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { silent } from '@nsm/sdk/log.js'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { until } from '../kit/until.ts'
import { ownApiServer, type RestartableApiServer } from './own-api-server.ts'

/** Where the registries of a test write. */
export const namespace = 'nsm-system'
export const resources = '/apis/networkservicemesh.io/v1'
export const endpointsPath: string = `${resources}/namespaces/${namespace}/networkserviceendpoints`
export const servicesPath: string = `${resources}/namespaces/${namespace}/networkservices`

/** An API server of its own, since a registry finds the objects of all namespaces. */
export interface RegistryWorld extends RestartableApiServer {
  /** Of an administrator. */
  readonly client: ApiClient
  readonly kubeconfig: string
  /** Opens the stores of one replica, loaded, on whatever is there. */
  replica(t: Test, options?: Partial<StoresOptions>): Promise<KubernetesStores>
  /** Removes all objects. */
  clear(): Promise<void>
  /** Answers what it prints. */
  kubectl(args: readonly string[]): Promise<string>
}

const crds = ['networkservices', 'networkserviceendpoints']

export async function registryWorld(t: Test): Promise<RegistryWorld> {
  const { layout, client, kubectl, restart } = await ownApiServer(t, 'registry')
  const { kubeconfig } = layout
  for (const plural of crds) {
    const file = new URL(`../../../charts/nsm/crds/${plural}.yaml`, import.meta.url)
    const crd = parse(await readFile(file, 'utf8')) as KubernetesObject
    await client.create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', crd)
  }
  for (const one of [namespace, 'app'])
    await client.create('/api/v1/namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: one },
    })
  await until('the custom resources are served', async () => {
    const lists = crds.map(async (plural) => client.get(`${resources}/${plural}`))
    return Promise.all(lists).then(
      () => true,
      () => false,
    )
  })

  return {
    ...restart,
    client,
    kubeconfig,
    kubectl,
    async replica(t, options = {}) {
      const mine = await openApiClient({
        kubeconfig,
        userAgent: 'nsm-registry',
        qps: 1000,
        log: silent,
        timeoutMs: 5000,
      })
      const stores = kubernetesStores({
        client: mine,
        namespace,
        clock: systemClock,
        log: silent,
        periodMs: 60_000,
        isOwned: true,
        ...options,
      })
      t.teardown(() => {
        stores.close()
        mine.close()
      })
      await until('the objects are loaded', () => stores.isLoaded)
      return stores
    },
    async clear() {
      for (const one of [namespace, 'app'])
        for (const plural of crds) await client.delete(`${resources}/namespaces/${one}/${plural}`)
    },
  }
}

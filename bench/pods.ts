import { readdir, readFile } from 'node:fs/promises'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { informer, type Informer } from '@nsm/kubernetes/informer.js'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { silent } from '@nsm/sdk/log.js'
import { endpoint, installedMesh, pod } from '@nsm/test/cluster/installed-mesh.js'
import { waitFor } from '@nsm/test/cluster/harness/wait-for.js'
import { quantile, type Figure, type Section } from './figure.ts'

const namespace = 'bench-pods'
const services = 'kernel://bench-pods/nsm-1'

/**
 * What the mesh adds to the start of a pod on the cluster $NSM_CLUSTER, by pods with and without annotation in turn, one after another on one
 * node; and what its sidecar holds of the node's memory.
 */
export const pods: Section = async ({ quick }) => {
  const cluster = await installedMesh()
  const [node] = cluster.nodes
  if (node === undefined) throw new Error('a cluster with nodes is needed')
  const client = await openApiClient({
    kubeconfig: cluster.kubeconfig,
    userAgent: 'bench',
    qps: 1_000,
    log: silent,
  })
  const path = `/api/v1/namespaces/${namespace}/pods`
  const known = informer<KubernetesObject>({ client, path, log: silent })
  try {
    await cluster.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }])
    await waitFor('the default account', async () =>
      cluster.kubectl(['get', 'serviceaccount', 'default', '-n', namespace]),
    )
    const served = { namespace, service: 'bench-pods', cidr: '172.25.0.0/24', node: node.name }
    await cluster.apply(endpoint(served))
    await cluster.wait(['deployment/bench-pods', '-n', namespace], 'condition=Available')
    await known.whenSynced()
    const start = starter({ client, known, path, node: node.name })
    const plain: number[] = []
    const annotated: number[] = []
    // The first of each finds cold caches.
    await start('warm-plain', undefined)
    await start('warm-annotated', services)
    for (let n = 0; n < (quick ? 3 : 50); n++) {
      plain.push(await start(`plain-${n}`, undefined))
      annotated.push(await start(`annotated-${n}`, services))
    }
    return [...times(plain, annotated), ...(await memory(client, known, node.name))]
  } finally {
    known.close()
    client.close()
    await cluster.kubectl(['delete', 'namespace', namespace, '--ignore-not-found', '--timeout=180s'])
  }
}

function times(plain: readonly number[], annotated: readonly number[]): readonly Figure[] {
  const figure = (what: string, values: readonly number[], q: number): Figure => ({
    what: `${what}, created → Ready, p${q * 100}`,
    value: quantile(values, q),
    unit: 'ms',
  })
  const added = quantile(annotated, 0.5) - quantile(plain, 0.5)
  return [
    figure('pod without annotation', plain, 0.5),
    figure('pod without annotation', plain, 0.99),
    figure('pod with annotation', annotated, 0.5),
    figure('pod with annotation', annotated, 0.99),
    { what: 'what the annotation adds, p50', value: added, unit: 'ms' },
    {
      what: 'what the annotation adds, p99',
      value: quantile(annotated, 0.99) - quantile(plain, 0.99),
      unit: 'ms',
    },
  ]
}

interface Starter {
  readonly client: ApiClient
  readonly known: Informer<KubernetesObject>
  readonly path: string
  readonly node: string
}

/** Makes a pod, waits until it is Ready, removes it; answers the time between the first two in ms. */
function starter({ client, known, path, node }: Starter) {
  return async (name: string, wish: string | undefined): Promise<number> => {
    const manifest = pod({ namespace, name, node, ...(wish === undefined ? {} : { services: wish }) })
    const begin = performance.now()
    const ready = seen(
      known,
      (object, type) => object.metadata.name === name && type !== 'deleted' && isReady(object),
    )
    await client.create(path, manifest as KubernetesObject)
    await ready
    const took = performance.now() - begin
    const gone = seen(known, (object, type) => object.metadata.name === name && type === 'deleted')
    await client.delete(`${path}/${name}`)
    await gone
    return took
  }
}

async function seen(
  known: Informer<KubernetesObject>,
  isIt: (object: KubernetesObject, type: string) => boolean,
): Promise<void> {
  await new Promise<void>((resolve) => {
    const stop = known.onChange(({ object, type }) => {
      if (!isIt(object, type)) return
      stop()
      resolve()
    })
  })
}

function isReady(object: KubernetesObject): boolean {
  const { conditions = [] } = (object['status'] ?? {}) as { conditions?: { type: string; status: string }[] }
  return conditions.some(({ type, status }) => type === 'Ready' && status === 'True')
}

/** Ten annotated pods on the node; its first sidecar alone, then the tenth. */
async function memory(
  client: ApiClient,
  known: Informer<KubernetesObject>,
  node: string,
): Promise<readonly Figure[]> {
  const path = `/api/v1/namespaces/${namespace}/pods`
  const figures: Figure[] = []
  for (let n = 1; n <= 10; n++) {
    const name = `memory-${n}`
    const ready = seen(known, (object) => object.metadata.name === name && isReady(object))
    await client.create(path, pod({ namespace, name, node, services }) as KubernetesObject)
    await ready
    if (n !== 1 && n !== 10) continue
    const uid = known.get(namespace, name)?.metadata.uid ?? ''
    // What its start needed has been given back then.
    await new Promise((resolve) => setTimeout(resolve, 10_000))
    figures.push(...(await sidecarMemory(uid, n)))
  }
  return figures
}

async function sidecarMemory(uid: string, n: number): Promise<readonly Figure[]> {
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    const [group, command, rollup] = await Promise.all(
      ['cgroup', 'cmdline', 'smaps_rollup'].map(async (file) =>
        readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => ''),
      ),
    )
    if (!group?.includes(uid) || !command?.includes('/nsm/sidecar.cjs') || rollup === undefined) continue
    const mebibytes = (key: string): number =>
      Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1] ?? Number.NaN) / 1024
    const which = `sidecar ${n} of a node`
    return [
      { what: `${which}, PSS`, value: mebibytes('Pss'), unit: 'MiB' },
      {
        what: `${which}, unshared`,
        value: mebibytes('Private_Dirty') + mebibytes('Private_Clean'),
        unit: 'MiB',
      },
    ]
  }
  throw new Error(`no process of the sidecar of pod ${uid}`)
}

import type { Reply } from '@nsm/sdk/dns/message.js'
import { dnsServer } from '@nsm/sdk/dns/server.js'
import { nameStore } from '@nsm/sdk/dns/name-store.js'
import type { PodStatus } from './pod-status.ts'

/** What stands for a cluster's DNS. */
export interface ClusterDns {
  close(): Promise<void>
}

/** A pod, and the deployment that it belongs to. */
export interface NamedPodStatus {
  readonly pod: PodStatus
  /** `namespace/name`. */
  readonly deployment: string | undefined
}

const clusterDomain = 'cluster.local'
const ttlSeconds = 5
/** The pods are looked at anew after this time at the latest. */
const renewMs = 100
const noSuchName: Reply = {
  rcode: 'NXDOMAIN',
  authoritative: true,
  authenticated: false,
  answers: [],
  authorities: [],
  additionals: [],
}

/**
 * Answers on port 53 for the pods as the cluster's DNS would: `POD.NAMESPACE.svc.cluster.local` and
 * `DEPLOYMENT.NAMESPACE.svc.cluster.local` (a Service of the same name, as it were), `10-1-2-3.NAMESPACE.pod.cluster.local`,
 * `kubernetes.default.svc.cluster.local`, and PTR. The mesh has no way out: no other name exists.
 */
export async function clusterDns(
  address: string,
  pods: () => readonly NamedPodStatus[],
): Promise<ClusterDns> {
  let store = nameStore()
  let madeAt = -Infinity
  const server = await dnsServer(address, 53, async (query) => {
    if (performance.now() - madeAt > renewMs) {
      store = nameStore({ zones: [clusterDomain], ttlSeconds })
      store.set('kubernetes', [`kubernetes.default.svc.${clusterDomain}`], [address])
      for (const { pod, deployment } of pods()) store.set(pod.uid, namesOf(pod, deployment), [pod.ip])
      madeAt = performance.now()
    }
    return store.answer(query) ?? noSuchName
  })
  return { close: () => server.close() }
}

function namesOf({ name, namespace, ip }: PodStatus, deployment: string | undefined): readonly string[] {
  const services = `${namespace}.svc.${clusterDomain}`
  const own = [`${name}.${services}`, `${ip.replaceAll('.', '-')}.${namespace}.pod.${clusterDomain}`]
  const [, deploymentName] = deployment?.split('/') ?? []
  return deploymentName === undefined ? own : [...own, `${deploymentName}.${services}`]
}

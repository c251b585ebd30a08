import type { Test } from 'tap'
import type { LocalMesh } from './local-mesh.ts'
import { endpoint } from './pods.ts'

/** The five policies of the acceptance scenario. */
export const fivePolicies = `
- from: 172.16.2.201/24
  proto: 6
  dstport: 6666
  routes:
    - prefix: 172.16.3.0/24
      nexthop: 172.16.2.200
- from: 172.16.2.201/24
  proto: 6
  srcport: 5555
- proto: 17
  dstport: 6666
- proto: 17
  dstport: 6667-6669
- from: 2004::3/120
  proto: 17
  dstport: 5555
  routes:
    - prefix: 2004::5/120
      nexthop: 2004::6
`

interface PodSpec {
  readonly containers: readonly { readonly volumeMounts: readonly object[] }[]
  readonly volumes: readonly object[]
}

/** An icmp-responder with a file of policy routes. */
export function policyEndpoint(
  inNamespace: string,
  name: string,
  variables: Readonly<Record<string, string>>,
  policies: string,
): object {
  const pod = endpoint(inNamespace, name, variables) as { readonly spec: PodSpec }
  const mount = { name: 'policies', mountPath: '/etc/policy-based-routing' }
  const write = {
    name: 'write-policies',
    command: ['sh', '-c', 'printf %s "$POLICIES" > /etc/policy-based-routing/config.yaml'],
    env: [{ name: 'POLICIES', value: policies }],
    volumeMounts: [mount],
  }
  const containers = pod.spec.containers.map((one) => ({
    ...one,
    volumeMounts: [...one.volumeMounts, mount],
  }))
  const volumes = [...pod.spec.volumes, { name: 'policies', emptyDir: {} }]
  return { ...pod, spec: { ...pod.spec, initContainers: [write], containers, volumes } }
}

/** What `ip route get` is to say of `fivePolicies` when the client's address is `source`. */
export async function followsFivePolicies(
  t: Test,
  mesh: LocalMesh,
  [namespace, pod]: readonly [namespace: string, pod: string],
  source = '172.16.1.101',
): Promise<void> {
  const wanted = [
    [
      'ip r get 172.16.3.1 from 172.16.2.201 ipproto tcp dport 6666',
      '172.16.3.1 from 172.16.2.201 via 172.16.2.200 dev nsm-1 table 1',
    ],
    [
      'ip r get 172.16.3.1 from 172.16.2.201 ipproto tcp sport 5555',
      '172.16.3.1 from 172.16.2.201 dev nsm-1 table 2',
    ],
    ['ip r get 172.16.4.1 ipproto udp dport 6666', `172.16.4.1 dev nsm-1 table 3 src ${source}`],
    ['ip r get 172.16.4.1 ipproto udp dport 6668', `172.16.4.1 dev nsm-1 table 4 src ${source}`],
    [
      'ip -6 route get 2004::5 from 2004::3 ipproto udp dport 5555',
      'via 2004::6 dev nsm-1 table 5 src 2004::3',
    ],
  ] as const
  for (const [line, answer] of wanted) {
    const said = (await mesh.inPod(namespace, pod, line)).replaceAll(/\s+/g, ' ')
    t.ok(said.includes(answer), `${line}: ${said}`)
  }
}

import { createHash } from 'node:crypto'
import type { Sysctl } from '../manifest/objects.ts'
import { native } from '@nsm/native/native.js'
import type { VethEnd } from '@nsm/native/surface.js'
import type { AddressPlan, NodeAddresses } from './addresses.ts'
import { routesOf } from './routes.ts'

/** Bridge of the namespace that joins the nodes. */
const switchBridge = 'nsm'
/** Bridge of a node that its pods are on: what a CNI would make. */
const podBridge = 'cni0'
const mtu = 1500
/** Group of links that no Network Service connection owns. */
const plainGroup = 0
const everywhere = '0.0.0.0/0'

/** Makes the network namespace of this very process the switch that joins the nodes. */
export async function makeSwitch(plan: AddressPlan): Promise<void> {
  const here = native.ownNetns()
  try {
    await native.createBridge(here, switchBridge)
    await native.apply(here, [
      { op: 'link', name: switchBridge, mac: macOf(plan.switchIp), up: true },
      { op: 'address', dev: switchBridge, prefix: plan.switchPrefix },
      { op: 'sysctl', name: 'net.ipv4.ip_forward', value: '1' },
    ])
  } finally {
    native.close(here)
  }
}

/** Gives a node's namespace its underlay address, and a bridge for its pods. */
export async function attachNode(
  node: { readonly name: string; readonly pid: number; readonly addresses: NodeAddresses },
  plan: AddressPlan,
): Promise<void> {
  const { name, addresses } = node
  await joined(node.pid, async (here, inside) => {
    const [a, b] = [
      { netnsFd: here, name },
      { netnsFd: inside, name: 'eth0', mac: macOf(addresses.ip) },
    ]
    await makeVeth(a, b)
    await native.createBridge(inside, podBridge)
    await native.apply(inside, [
      { op: 'link', name: 'eth0', up: true },
      { op: 'address', dev: 'eth0', prefix: addresses.prefix },
      { op: 'link', name: podBridge, mac: macOf(addresses.gateway), up: true },
      { op: 'address', dev: podBridge, prefix: addresses.gatewayPrefix },
      { op: 'sysctl', name: 'net.ipv4.ip_forward', value: '1' },
    ])
    await native.apply(here, [
      { op: 'link', name, master: switchBridge, up: true },
      { op: 'route', dev: switchBridge, prefix: addresses.podCidr, gateway: addresses.ip, scope: 'global' },
    ])
    await native.apply(inside, [
      { op: 'route', dev: 'eth0', prefix: everywhere, gateway: plan.switchIp, scope: 'global' },
    ])
  })
}

/** Gives a pod's namespace its `eth0` on the bridge of its node; answers its routes then. */
export async function attachPod(
  nodePid: number,
  pod: {
    readonly pid: number
    readonly ip: string
    readonly gateway: string
    readonly sysctls: readonly Sysctl[]
  },
): Promise<readonly string[]> {
  await joined(nodePid, async (_here, node) =>
    joined(pod.pid, async (_self, inside) => {
      const port = `veth${createHash('sha256').update(pod.ip).digest('hex').slice(0, 10)}`
      await makeVeth({ netnsFd: node, name: port }, { netnsFd: inside, name: 'eth0', mac: macOf(pod.ip) })
      await native.apply(node, [{ op: 'link', name: port, master: podBridge, up: true }])
      await native.apply(inside, [
        { op: 'link', name: 'eth0', up: true },
        { op: 'address', dev: 'eth0', prefix: `${pod.ip}/24` },
        { op: 'route', dev: 'eth0', prefix: everywhere, gateway: pod.gateway, scope: 'global' },
        // As containerd 2 does: a container without capabilities may ping.
        { op: 'sysctl', name: 'net.ipv4.ping_group_range', value: '0 2147483647' },
        ...pod.sysctls.map(({ name, value }) => ({ op: 'sysctl', name, value }) as const),
      ])
    }),
  )
  return routesOf(pod.pid)
}

/** The kernel takes its time to remove what a dead namespace was linked by: a port that was left is removed first. */
async function makeVeth(port: VethEnd, inside: VethEnd): Promise<void> {
  await native.deleteLinks(port.netnsFd, [port.name])
  await native.createVeth({ a: port, b: inside, mtu, group: plainGroup })
}

/** As CNI's bridge does: who knows the address from an earlier pod still reaches it, and a bridge keeps its own when ports go. */
function macOf(ip: string): string {
  const bytes = ip.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'))
  return ['0a', '58', ...bytes].join(':')
}

/** Descriptors of our own network namespace and of a process', closed afterwards: a held one would keep a dead pod's links up. */
async function joined<T>(pid: number, body: (here: number, inside: number) => Promise<T>): Promise<T> {
  const here = native.ownNetns()
  try {
    const inside = native.open(`/proc/${pid}/ns/net`, 'read')
    try {
      return await body(here, inside)
    } finally {
      native.close(inside)
    }
  } finally {
    native.close(here)
  }
}

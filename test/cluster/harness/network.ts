import { existsSync } from 'node:fs'
import { run } from './command.ts'
import type { Layout, NodeLayout } from './layout.ts'

const ip = async (...args: string[]): Promise<string> => run(['ip', ...args])
const ipIn = async (netns: string, ...args: string[]): Promise<string> => run(['ip', '-n', netns, ...args])

/** A second address byte that no route of this machine and no other cluster uses. */
export async function freeRange(taken: readonly number[]): Promise<number> {
  const routes = await ip('route', 'show', 'table', 'all')
  for (let range = 130; range < 230; range++) {
    if (!taken.includes(range) && !routes.includes(` 10.${range}.`) && !routes.startsWith(`10.${range}.`))
      return range
  }
  throw new Error('no range 10.130.0.0/16 to 10.229.0.0/16 is free on this machine')
}

/** Joins this machine and the control plane to a new switch, which is a namespace with a bridge. */
export async function makeNetwork(layout: Layout): Promise<void> {
  await addNetns(layout.switchNetns)
  await ipIn(layout.switchNetns, 'link', 'add', 'bridge', 'type', 'bridge')
  await ipIn(layout.switchNetns, 'link', 'set', 'bridge', 'up')
  await addNetns(layout.controlNetns)
  await plug(layout, 'control', layout.controlNetns, layout.controlAddress)
  // The API server calls webhooks at their pods' addresses.
  for (const node of layout.nodes) await route(layout.controlNetns, node)
  await ip(
    'link',
    'add',
    layout.hostLink,
    'type',
    'veth',
    'peer',
    'name',
    'host',
    'netns',
    layout.switchNetns,
  )
  await ip('address', 'add', `${layout.hostAddress}/24`, 'dev', layout.hostLink)
  await ip('link', 'set', layout.hostLink, 'up')
  await ipIn(layout.switchNetns, 'link', 'set', 'host', 'master', 'bridge', 'up')
}

/** Gives a node a new network namespace on the switch, with routes to the pods of the others. */
export async function makeNodeNetwork(layout: Layout, node: NodeLayout): Promise<void> {
  const port = `node-${node.number}`
  await addNetns(node.netns)
  await unplug(layout, port)
  await plug(layout, port, node.netns, node.address)
  for (const setting of ['net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']) {
    await run(['nsenter', `--net=/run/netns/${node.netns}`, 'sysctl', '-qw', setting])
  }
  for (const other of layout.nodes) if (other.name !== node.name) await route(node.netns, other)
  // Leads nowhere, but a Service's address must be routable before kube-proxy may turn it into a pod's.
  await ipIn(node.netns, 'route', 'add', 'default', 'via', layout.controlAddress)
}

async function addNetns(name: string): Promise<void> {
  await ip('netns', 'add', name)
  await ipIn(name, 'link', 'set', 'lo', 'up')
}

async function plug(layout: Layout, port: string, netns: string, address: string): Promise<void> {
  await ipIn(netns, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', port, 'netns', layout.switchNetns)
  await ipIn(netns, 'address', 'add', `${address}/24`, 'dev', 'eth0')
  await ipIn(netns, 'link', 'set', 'eth0', 'up')
  await ipIn(layout.switchNetns, 'link', 'set', port, 'master', 'bridge', 'up')
}

/** The kernel clears up a namespace that is gone when it gets to it, and the port that led there with it. */
async function unplug(layout: Layout, port: string): Promise<void> {
  const isThere = async (): Promise<boolean> =>
    (await ipIn(layout.switchNetns, '-o', 'link', 'show')).includes(` ${port}@`)
  if (!(await isThere())) return
  await ipIn(layout.switchNetns, 'link', 'delete', port).catch(async (err: unknown) => {
    // It may have got to it just now.
    if (await isThere()) throw err
  })
}

async function route(netns: string, node: NodeLayout): Promise<void> {
  await ipIn(netns, 'route', 'add', node.podCidr, 'via', node.address)
}

/** Removes a network namespace if it is there. */
export async function removeNetns(name: string): Promise<void> {
  if (existsSync(`/run/netns/${name}`)) await ip('netns', 'delete', name)
}

/** Removes what `makeNetwork` and `makeNodeNetwork` have made, as far as it is there. */
export async function removeNetwork(layout: Layout): Promise<void> {
  const links = await ip('-o', 'link', 'show')
  if (links.includes(` ${layout.hostLink}@`)) await ip('link', 'delete', layout.hostLink)
  const all = [...layout.nodes.map((node) => node.netns), layout.controlNetns, layout.switchNetns]
  for (const name of all) await removeNetns(name)
}

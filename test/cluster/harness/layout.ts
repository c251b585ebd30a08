import path from 'node:path'

/** Where all clusters of this machine keep what they have. On disk, since containerd's file systems cannot lie on an overlay. */
export const clustersFolder = '/var/tmp/nsm-cluster'

/** Address range of Services, of every cluster. */
export const serviceCidr = '10.96.0.0/16'
export const dnsAddress = '10.96.0.10'

export interface NodeLayout {
  readonly name: string
  /** From 1. */
  readonly number: number
  readonly netns: string
  readonly address: string
  /** Of its pods. */
  readonly podCidr: string
  readonly podGateway: string
  readonly cgroup: string
  readonly folder: string
}

/** Everything that follows from a cluster's name, its number of nodes and its second address byte. */
export interface Layout {
  readonly name: string
  readonly folder: string
  readonly kubeconfig: string
  /** Link of this machine into the cluster's underlay. */
  readonly hostLink: string
  readonly hostAddress: string
  readonly switchNetns: string
  readonly controlNetns: string
  readonly controlAddress: string
  readonly server: string
  readonly clusterCidr: string
  readonly cgroup: string
  readonly nodes: readonly NodeLayout[]
}

/** @throws when the name cannot be part of a host name. */
export function layoutOf(name: string, nodeCount: number, range: number): Layout {
  if (!/^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$/.test(name)) {
    throw new Error(`a cluster's name is made of lower-case letters, digits and hyphens: ${name}`)
  }
  const folder = path.join(clustersFolder, name)
  const cgroup = `nsm-cluster/${name}`
  const controlAddress = `10.${range}.255.1`
  return {
    name,
    folder,
    cgroup,
    controlAddress,
    kubeconfig: path.join(folder, 'admin.kubeconfig'),
    hostLink: `nsm-${range}`,
    hostAddress: `10.${range}.255.254`,
    switchNetns: `nsm-${name}-switch`,
    controlNetns: `nsm-${name}-control`,
    server: `https://${controlAddress}:6443`,
    clusterCidr: `10.${range}.0.0/17`,
    nodes: Array.from({ length: nodeCount }, (_, index) =>
      nodeOf({ name, folder, cgroup, range }, index + 1),
    ),
  }
}

function nodeOf(
  cluster: { name: string; folder: string; cgroup: string; range: number },
  number: number,
): NodeLayout {
  const name = `${cluster.name}-${number}`
  return {
    name,
    number,
    netns: `nsm-${name}`,
    address: `10.${cluster.range}.255.${10 + number}`,
    podCidr: `10.${cluster.range}.${number}.0/24`,
    podGateway: `10.${cluster.range}.${number}.1`,
    cgroup: `${cluster.cgroup}/${name}`,
    folder: path.join(cluster.folder, 'nodes', name),
  }
}

/** Payloads of a network service (wire contract §1.7). */
export const payloads = { ETHERNET: 'ETHERNET', IP: 'IP' } as const

/** Where a mechanism works: on one node, or between nodes. */
export const mechanismClasses = { LOCAL: 'LOCAL', REMOTE: 'REMOTE' } as const

/** Mechanism types that work on one node (§1.7). */
export const localMechanisms = ['KERNEL', 'MEMIF', 'VFIO', 'NOOP'] as const
export type LocalMechanism = (typeof localMechanisms)[number]

/** Keys of `Mechanism.parameters` (§2.1, §2.2). */
export const mechanismParameters = {
  /** `file://<path>` inside one process, `inode://<st_dev>/<st_ino>` on a socket. */
  inodeUrl: 'inodeURL',
  /** Linux interface name. */
  name: 'name',
  /** Decimal text; above 0 forwarders leave addresses and routes alone. */
  vlan: 'vlan',
  routeLocalNet: 'routeLocalNet',
  ipTables4NatTemplate: 'IPTables4NatTemplate',
} as const

/** A process' own network namespace, as the parameter `inodeURL` before descriptors are passed (§2.2 KERNEL). */
export const ownNetnsUrl = 'file:///proc/thread-self/ns/net'

/** Labels that tell where a client runs (§1.7). */
export const clientLabels = { nodeName: 'nodeName', podName: 'podName', clusterName: 'clusterName' } as const

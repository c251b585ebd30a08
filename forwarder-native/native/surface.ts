/**
 * Everything that the addon offers, in one place. Descriptors are plain numbers: who gets one closes it with `close`.
 * No call blocks the event loop for longer than a few tens of microseconds; those that may, answer a promise
 * and run on threads of the addon's own. Every failure is a `NativeError`.
 */

/** What a failed call throws or rejects with. */
export interface NativeError extends Error {
  /** Linux errno, positive. */
  readonly errno: number
  /** Its name, as `EEXIST`. */
  readonly code: string
  /** What was being done, as `RTM_NEWLINK`. */
  readonly operation: string
  /** The interface, address, route or path it was done to. */
  readonly object: string
  /** All failures of a batch, by position; absent for single operations. */
  readonly failures?: readonly { readonly index: number; readonly error: NativeError }[]
}

/** What a descriptor is, from fstat, fstatfs and NS_GET_NSTYPE. */
export interface DescriptorInfo {
  readonly dev: bigint
  readonly inode: bigint
  readonly kind: 'netns' | 'namespace' | 'socket' | 'fifo' | 'file' | 'directory' | 'other'
  /** A netns that is this process' own one. */
  readonly isOwnNetns: boolean
  /** Opened with O_PATH. */
  readonly isPathOnly: boolean
}

export interface PeerCredentials {
  /** 0 when the process lives in a pid namespace that cannot be seen from here. */
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** One end of a new veth pair. */
export interface VethEnd {
  readonly netnsFd: number
  /** Final name, 1–15 bytes. */
  readonly name: string
  /** `aa:bb:cc:dd:ee:ff`; absent = the kernel's choice. */
  readonly mac?: string
  /** Made inside the namespace as soon as the pair is there, by the same thread. */
  readonly changes?: readonly Change[]
}

export interface VethPair {
  readonly a: VethEnd
  readonly b: VethEnd
  readonly mtu: number
  /** IFLA_GROUP of both ends: marks what is ours. */
  readonly group: number
}

/** A change inside one network namespace. Prefixes are CIDR texts; device names are those inside the namespace. */
export type Change =
  | {
      readonly op: 'link'
      readonly name: string
      readonly up?: boolean
      readonly mtu?: number
      readonly alias?: string
      readonly mac?: string
      readonly group?: number
      /** Bridge that the link becomes a port of. */
      readonly master?: string
    }
  | { readonly op: 'address' | 'delete-address'; readonly dev: string; readonly prefix: string }
  | {
      readonly op: 'route' | 'delete-route'
      readonly dev: string
      readonly prefix: string
      readonly gateway?: string
      readonly scope: 'link' | 'global'
      readonly onlink?: boolean
      /** Absent = main. */
      readonly table?: number
      /** Preferred source address, without length. */
      readonly source?: string
    }
  | {
      readonly op: 'rule' | 'delete-rule'
      readonly family: 4 | 6
      readonly table: number
      readonly priority?: number
      readonly from?: string
      readonly ipProto?: number
      readonly dstPort?: readonly [number, number]
      readonly srcPort?: readonly [number, number]
    }
  | {
      readonly op: 'neighbour' | 'delete-neighbour'
      readonly dev: string
      readonly ip: string
      readonly mac: string
      readonly state: 'reachable' | 'permanent'
    }
  /** `name` as in `net.ipv6.conf.nsm-1.disable_ipv6` with `/` for a dot inside a device name; only below `net.`. `ifPresent`: one that this kernel has not is no error. */
  | { readonly op: 'sysctl'; readonly name: string; readonly value: string; readonly ifPresent?: boolean }

export interface LinkInfo {
  readonly index: number
  readonly name: string
  readonly kind: string
  readonly alias: string
  readonly group: number
  readonly mtu: number
  readonly mac: string
  readonly up: boolean
  /** IFLA_LINK: index of a veth's other end, in its own namespace. */
  readonly peerIndex: number
  readonly rxBytes: number
  readonly txBytes: number
  readonly rxPackets: number
  readonly txPackets: number
}
export interface AddressInfo {
  readonly dev: string
  readonly prefix: string
  readonly scope: 'global' | 'site' | 'link' | 'host'
}
export interface RouteInfo {
  readonly dev: string
  readonly prefix: string
  readonly gateway?: string
  readonly scope: 'link' | 'global' | 'host'
  readonly table: number
  readonly source?: string
}
export interface RuleInfo {
  readonly family: 4 | 6
  readonly table: number
  readonly priority: number
  readonly from?: string
  readonly ipProto?: number
  readonly dstPort?: readonly [number, number]
  readonly srcPort?: readonly [number, number]
}
export interface NeighbourInfo {
  readonly dev: string
  readonly ip: string
  readonly mac: string
  readonly state: string
}
/** One consistent reading of a namespace; the parts not asked for are empty. */
export interface NamespaceState {
  readonly links: readonly LinkInfo[]
  readonly addresses: readonly AddressInfo[]
  readonly routes: readonly RouteInfo[]
  readonly rules: readonly RuleInfo[]
  readonly neighbours: readonly NeighbourInfo[]
}
export type StatePart = 'links' | 'addresses' | 'routes' | 'rules' | 'neighbours'

/** The functions of the addon; `@nsm/native/native.js` exports one object of this type, loaded on first use. */
export interface Native {
  /** `path` mode: O_PATH, follows links; `read` mode: O_RDONLY. Both O_CLOEXEC. */
  open(path: string, mode: 'read' | 'path'): number
  close(fd: number): void
  duplicate(fd: number): number
  describe(fd: number): DescriptorInfo
  /** A descriptor of the calling process' network namespace. */
  ownNetns(): number
  /** A new, empty network namespace (loopback up), held by the descriptor alone. */
  createNetns(): Promise<number>

  /** SO_PEERCRED. */
  peerCredentials(socketFd: number): PeerCredentials
  /** Network namespace of the process at the other end: SO_PEERPIDFD + PIDFD_GET_NET_NAMESPACE, `setns(pidfd)` before kernel 6.11. */
  peerNetns(socketFd: number): Promise<number>

  /**
   * One RTM_NEWLINK: both ends straight into their namespaces, one queue each, still down; then each end's changes.
   * Nothing of the pair is left behind on an error. Rules are not undone: they are no part of it.
   */
  createVeth(pair: VethPair): Promise<void>
  /** A bridge, down and without ports. */
  createBridge(netnsFd: number, name: string): Promise<void>
  /**
   * All changes in one sendmsg, in order. The kernel goes on after an error, so all failures are collected:
   * rejects with the first as a NativeError whose `failures` lists every `{index, error}`. `route` and `address` replace;
   * a rule that is there, or something to delete that is not, is as wanted and no error. At most 65,536 changes.
   */
  apply(netnsFd: number, changes: readonly Change[]): Promise<void>
  read(netnsFd: number, parts: readonly StatePart[]): Promise<NamespaceState>
  /**
   * Deletes links by name, many at once by trash group, on the deletion threads; resolves when they are gone, which is
   * some 15 ms before the kernel lets the deleting thread go. Links that are not there are no error.
   */
  deleteLinks(netnsFd: number, names: readonly string[]): Promise<void>

  /**
   * Shows the folder `source` at the existing folder `target`, read-only and without setuid programs, devices and programs.
   * A link as the last part of `target` is not followed; what is mounted there already is covered.
   */
  bindMount(source: string, target: string): Promise<void>
  /** Takes everything off that is mounted at `target` itself, also when it is in use; false = nothing was. */
  unmount(target: string): Promise<boolean>

  /** One ICMP or ICMPv6 echo over a datagram socket of the calling process' own namespace; round trip in ms, undefined = no reply in time. */
  ping(source: string, destination: string, timeoutMs: number): Promise<number | undefined>
}

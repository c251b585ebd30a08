/** What a descriptor is. */
export interface DescriptorInfo {
  readonly dev: bigint
  readonly inode: bigint
  readonly kind: 'netns' | 'namespace' | 'socket' | 'fifo' | 'file' | 'directory' | 'other'
  /** A network namespace that is this process' own one. */
  readonly isOwnNetns: boolean
  /** Opened with O_PATH. */
  readonly isPathOnly: boolean
}

/** What elements do with descriptors: a part of the native addon, as a parameter. Numbers; who gets one closes it. */
export interface DescriptorFunctions {
  open(path: string, mode: 'read' | 'path'): number
  close(fd: number): void
  describe(fd: number): DescriptorInfo
}

/** Names a file by device and inode, as `inode://4/4026532573` does (wire contract §6.3). */
export interface InodeId {
  readonly dev: bigint
  readonly inode: bigint
}

const number = '(0|[1-9][0-9]{0,19})'
const pattern = new RegExp(`^inode://${number}/${number}$`)
const max = (1n << 64n) - 1n

/** undefined = not an `inode://` URL: decimal, no leading zeros, two numbers of 64 bits. */
export function parseInodeUrl(url: string): InodeId | undefined {
  const [, dev, inode] = pattern.exec(url) ?? []
  if (dev === undefined || inode === undefined) return undefined
  const id = { dev: BigInt(dev), inode: BigInt(inode) }
  return id.dev <= max && id.inode <= max ? id : undefined
}

export function formatInodeUrl({ dev, inode }: InodeId): string {
  return `inode://${dev}/${inode}`
}

/** Where a descriptor of this process can be opened again. */
export function descriptorPath(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`
}

/** Stands for a namespace of which a call of this process holds a descriptor; nothing can be opened by it. */
export function heldPath({ dev, inode }: InodeId): string {
  return `/proc/${process.pid}/fd/${dev}:${inode}`
}

/** Whether `path` names a descriptor of this process, one that may be closed by now. */
export function isOwnDescriptorPath(path: string): boolean {
  return path.startsWith(`/proc/${process.pid}/fd/`)
}

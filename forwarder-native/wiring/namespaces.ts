import { readdir, readlink } from 'node:fs/promises'
import type { Native } from '@nsm/native/surface.js'
import type { InodeId } from '@nsm/sdk/descriptors.js'

type Functions = Pick<Native, 'open' | 'close' | 'describe'>

/** Links read at once: each takes a thread of libuv's for some microseconds. */
const atOnce = 16

/** Network namespaces of the processes that can be seen from here: inode → a process in it (needs the host's pid namespace). */
export async function visibleNamespaces(): Promise<Map<bigint, number>> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found = new Map<bigint, number>()
  for (let from = 0; from < pids.length; from += atOnce) {
    const some = pids.slice(from, from + atOnce)
    const links = await Promise.all(some.map((pid) => readlink(`/proc/${pid}/ns/net`).catch(() => '')))
    for (const [at, link] of links.entries()) {
      const [, inode] = /^net:\[(\d+)\]$/.exec(link) ?? []
      const pid = some[at]
      if (inode !== undefined && pid !== undefined) found.set(BigInt(inode), pid)
    }
  }
  return found
}

/** Where process 1 lives: the machine's own namespace where its processes can be seen, else at worst this container's. */
export function hostNamespace(native: Functions): InodeId | undefined {
  let fd: number | undefined
  try {
    fd = native.open('/proc/1/ns/net', 'read')
    const { dev, inode } = native.describe(fd)
    return { dev, inode }
  } catch {
    return undefined
  } finally {
    if (fd !== undefined) native.close(fd)
  }
}

/** The namespace of a process, if it still is the one meant and not this process' own; the caller closes it. */
export function openNamespace(native: Functions, pid: number, inode: bigint): number | undefined {
  let fd: number
  try {
    fd = native.open(`/proc/${pid}/ns/net`, 'read')
  } catch {
    return undefined
  }
  const info = native.describe(fd)
  if (info.kind === 'netns' && info.inode === inode && !info.isOwnNetns) return fd
  native.close(fd)
  return undefined
}

/** A descriptor of a namespace that was wired before, found by its processes; undefined when it can't be seen or is gone. */
export async function findNamespace(native: Functions, { inode }: InodeId): Promise<number | undefined> {
  const pid = (await visibleNamespaces()).get(inode)
  return pid === undefined ? undefined : openNamespace(native, pid, inode)
}

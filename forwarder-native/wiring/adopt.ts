import type { LinkInfo, Native } from '@nsm/native/surface.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import { isMeshAlias, linkGroup } from './link-names.ts'
import { openNamespace, visibleNamespaces } from './namespaces.ts'

export interface OrphanSweepOptions {
  readonly native: Native
  readonly clock: Clock
  readonly log: Logger
  readonly forwarderName: string
  /** How long a link may be without a connection: as long as a token lives, so that every client has refreshed. */
  readonly graceMs: number
  /** Aliases of the links of all connections. */
  readonly owned: () => ReadonlySet<string>
}

export interface OrphanSweep {
  /** Looks once; answers how many links were deleted. Never rejects. */
  sweep(): Promise<number>
  stop(): void
}

/** Looks per grace time. */
const looks = 4
/** However short the grace time is. */
const shortestMs = 1_000

/**
 * Deletes links of this forwarder's that no connection owns: after a restart the refreshes of all living connections adopt
 * theirs within a token's life, and what is left then is nobody's. Sees the namespaces of visible processes only.
 */
export function orphanSweep(options: OrphanSweepOptions): OrphanSweep {
  const { native, clock, log, graceMs, owned } = options
  const group = linkGroup(options.forwarderName)
  let seen = new Map<string, number>()
  let stopped = false
  let cancel = (): void => undefined

  async function sweepNamespace(inode: bigint, pid: number, known: Map<string, number>): Promise<number> {
    const fd = openNamespace(native, pid, inode)
    if (fd === undefined) return 0
    try {
      const { links } = await native.read(fd, ['links'])
      // After the reading: a link that is made now belongs to a call that is under way, and is younger than any grace.
      const owners = owned()
      const overdue: string[] = []
      for (const link of links.filter((one) => isOrphan(one, group, owners))) {
        const id = `${inode} ${link.index} ${link.alias}`
        const since = seen.get(id) ?? clock.now()
        known.set(id, since)
        if (clock.now() - since >= graceMs) overdue.push(link.name)
      }
      if (overdue.length === 0) return 0
      log.info({ interfaces: overdue, netns: String(inode) }, 'links without a connection are deleted')
      await native.deleteLinks(fd, overdue)
      return overdue.length
    } finally {
      native.close(fd)
    }
  }

  async function sweep(): Promise<number> {
    const known = new Map<string, number>()
    let deleted = 0
    try {
      for (const [inode, pid] of await visibleNamespaces()) {
        if (stopped) break
        deleted += await sweepNamespace(inode, pid, known).catch((err: unknown) => {
          log.debug({ err: String(err), netns: String(inode) }, 'a namespace cannot be searched')
          return 0
        })
      }
    } catch (err) {
      log.warn({ err: String(err) }, 'namespaces cannot be searched for links without a connection')
    }
    seen = known
    return deleted
  }

  function arm(): void {
    cancel = clock.after(Math.max(graceMs / looks, shortestMs), () => {
      void sweep().then(() => (stopped ? undefined : arm()))
    })
  }

  void tellIfBlind(log)
  void sweep().then(() => (stopped ? undefined : arm()))
  return {
    sweep,
    stop() {
      stopped = true
      cancel()
    },
  }
}

/** A pid namespace of its own leaves the process to see its own network namespace alone. */
async function tellIfBlind(log: Logger): Promise<void> {
  const visible = await visibleNamespaces().catch(() => new Map())
  if (visible.size > 1) return
  log.info({}, 'no process of a pod can be seen here: a link without a connection goes when its pod does')
}

function isOrphan({ group, kind, alias }: LinkInfo, ourGroup: number, owners: ReadonlySet<string>): boolean {
  const isOurs = group === ourGroup && kind === 'veth' && (alias === '' || isMeshAlias(alias))
  return isOurs && !owners.has(alias)
}

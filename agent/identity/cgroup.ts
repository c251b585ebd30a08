/** How kubelet names the groups of quality of service below its own: by cgroupfs, and inside systemd's slices. */
const classes = new Set(['burstable', 'besteffort'])
/** A pod's own group: `pod<uid>`, or `kubepods-burstable-pod<uid, _ for ->.slice`. Static pods have a hash for a UID. */
const podGroup =
  /^(?:(?:[\w-]+-)?kubepods(?:-burstable|-besteffort)?-)?pod([0-9a-f]{8}(?:[-_]?[0-9a-f]{4}){3}[-_]?[0-9a-f]{12})(?:\.slice)?$/
const slices = /(?:^|-)kubepods(?:-burstable|-besteffort)?\.slice$/

/**
 * The UID of the pod that a process is in, from its `/proc/<pid>/cgroup` (v1, v2, or both); undefined when it is in none, or when its
 * hierarchies do not agree. What somebody names like a pod below a pod's group, or below a user's session, is no pod.
 */
export function podUidOf(cgroups: string): string | undefined {
  const uids = new Set(
    cgroups.split('\n').flatMap((line) => {
      // hierarchy:controllers:path, and a path may hold colons.
      const path = line.split(':').slice(2).join(':')
      return podUidIn(path.replace(/ \(deleted\)$/, '')) ?? []
    }),
  )
  const [uid] = uids
  return uids.size === 1 ? uid : undefined
}

function podUidIn(path: string): string | undefined {
  const segments = path.split('/').filter((segment) => segment !== '')
  const at = segments.findIndex((segment) => podGroup.test(segment))
  if (at === -1 || !isKubelets(segments.slice(0, at))) return undefined
  const [, uid = ''] = podGroup.exec(segments[at] ?? '') ?? []
  return uid.replaceAll('_', '-')
}

/** Whether kubelet alone can have made a pod's group there. In a cgroup namespace of this process' own, what both share is not shown. */
function isKubelets(above: readonly string[]): boolean {
  if (above.some((segment) => /^user(?:-\d+)?\.slice$/.test(segment))) return false
  const named = above.filter((segment) => segment !== '..')
  const isRelative = above[0] === '..'
  const parent = named.at(-1)
  if (parent === undefined) return isRelative
  if (parent === 'kubepods' || slices.test(parent)) return true
  return classes.has(parent) && (named.length === 1 ? isRelative : named.at(-2) === 'kubepods')
}

import { fault, ok, some, type Finding } from './finding.ts'

/** The kernel of a node, as `6.18.5-generic`. */
export interface Kernel {
  readonly name: string
  readonly version: string
}

/** What nsmgr is given to find out about the processes that call it. */
export interface ManagerRights {
  /** The node's process namespace. */
  readonly seesProcesses: boolean
  /** CAP_SYS_ADMIN. */
  readonly entersNamespaces: boolean
}

/** What older kernels make of nsmgr's way to a pod's network namespace, and whether it can go that way. */
export function kernelFindings(found: readonly Kernel[], rights: ManagerRights): readonly Finding[] {
  const before = (major: number, minor: number): readonly string[] =>
    found.filter(({ version }) => isBefore(version, major, minor)).map(({ name }) => name)
  const old = before(6, 5)
  const older = before(6, 11)
  const findings = [
    ...ways(rights.seesProcesses, old, {
      text: `kernels before 6.5 on ${some(old)}: nsmgr finds its callers among the node's processes`,
      remedy: 'set nsmgr.hostPID to true',
    }),
    ...ways(rights.entersNamespaces, older, {
      text: `kernels before 6.11 on ${some(older)}: nsmgr enters a pod's network namespace to find out which it is`,
      remedy: 'add SYS_ADMIN to nsmgr.capabilities',
    }),
  ]
  if (findings.length > 0) return findings
  const versions = [...new Set(found.map(({ version }) => version))].toSorted()
  return [ok(`kernels have all that is used: ${some(versions)}`)]
}

function ways(
  mayGo: boolean,
  nodes: readonly string[],
  { text, remedy }: { readonly text: string; readonly remedy: string },
): readonly Finding[] {
  if (nodes.length === 0) return []
  return [mayGo ? ok(text) : fault(`${text}, and may not: pods can pass another's as their own`, remedy)]
}

export function isBefore(version: string, major: number, minor: number): boolean {
  const [, a = '0', b = '0'] = /^(\d+)\.(\d+)/.exec(version) ?? []
  return Number(a) < major || (Number(a) === major && Number(b) < minor)
}

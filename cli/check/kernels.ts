import { ok, some, warning, type Finding } from './finding.ts'

/** The kernel of a node, as `6.18.5-generic`. */
export interface Kernel {
  readonly name: string
  readonly version: string
}

/** What older kernels make of nsmgr's way to a pod's network namespace. */
export function kernelFindings(found: readonly Kernel[]): readonly Finding[] {
  const versions = [...new Set(found.map(({ version }) => version))].toSorted()
  const before = (major: number, minor: number): readonly string[] =>
    found.filter(({ version }) => isBefore(version, major, minor)).map(({ name }) => name)
  const old = before(6, 5)
  const older = before(6, 11).filter((name) => !old.includes(name))
  const findings = [
    ...(old.length > 0
      ? [
          warning(
            `kernels before 6.5 on ${some(old)}: nsmgr finds a pod's network namespace by its process id`,
            'it works, and needs hostPID for nsmgr',
          ),
        ]
      : []),
    ...(older.length > 0
      ? [
          warning(
            `kernels before 6.11 on ${some(older)}: nsmgr enters a pod's network namespace to find out which it is`,
            'it works, and needs CAP_SYS_ADMIN for nsmgr',
          ),
        ]
      : []),
  ]
  return findings.length > 0 ? findings : [ok(`kernels have all that is used: ${some(versions)}`)]
}

function isBefore(version: string, major: number, minor: number): boolean {
  const [, a = '0', b = '0'] = /^(\d+)\.(\d+)/.exec(version) ?? []
  return Number(a) < major || (Number(a) === major && Number(b) < minor)
}

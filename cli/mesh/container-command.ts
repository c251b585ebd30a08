import { environmentOf, expand, type PodFacts } from '../manifest/env.ts'
import { programOf } from '../manifest/images.ts'
import type { Container, PodSpec, SecurityContext } from '../manifest/objects.ts'
import type { Bind, Command } from './runner.ts'

/** How programs of ours are run: Node.js, the bundle's path, and what goes into its environment. */
export interface Programs {
  readonly argv: (program: string) => readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Makes the bundles visible inside. */
  readonly binds: readonly Bind[]
}

/** The user of images that are not built to run as root. */
const nonRootId = 65_532

/** What is run for a container: its command on this machine's own root file system, or the program of ours that its image names. */
export function commandOf(
  container: Container,
  pod: { readonly spec: PodSpec; readonly facts: PodFacts; readonly binds: readonly Bind[] },
  programs: Programs,
): Command {
  const own = environmentOf(container, pod.facts)
  const words = (list: readonly string[] = []): readonly string[] => list.map((word) => expand(word, own))
  const program = container.command?.length ? undefined : programOf(container.image ?? '')
  const start = program === undefined ? words(container.command) : programs.argv(program)
  const security = { ...pod.spec.securityContext, ...container.securityContext }
  const { workingDir } = container
  return {
    argv: [...start, ...words(container.args)],
    env: { ...base(pod.facts.name), ...(program === undefined ? {} : programs.env), ...own },
    root: {
      binds: [...(program === undefined ? [] : programs.binds), ...pod.binds],
      readOnly: security.readOnlyRootFilesystem === true,
    },
    noNewPrivileges: security.allowPrivilegeEscalation === false,
    stdin: container.stdin === true,
    ...(workingDir === undefined ? {} : { workingDir }),
    ...userOf(security),
  }
}

function userOf({ runAsUser, runAsGroup, runAsNonRoot }: SecurityContext): Pick<Command, 'uid' | 'gid'> {
  const uid = runAsUser ?? (runAsNonRoot === true ? nonRootId : undefined)
  const gid = runAsGroup ?? uid
  return { ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) }
}

function base(hostname: string): Readonly<Record<string, string>> {
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    HOSTNAME: hostname,
  }
}

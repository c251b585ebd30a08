import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { until } from './until.ts'

/** Processes in control groups that the test makes, as kubelet has them for the containers of its pods. */
export interface PodGroups {
  /** Starts a program in the group of a container of the pod with this UID; it ends with the test. */
  spawnIn(uid: string, argv: readonly string[], env?: Readonly<Record<string, string>>): ChildProcess
}

/** Why no groups can be made here; false when they can. */
export const noGroups: string | false =
  process.getuid?.() === 0 && hierarchy() !== undefined ? false : 'needs root and control groups'

/** The groups of one test; all are removed with it. */
export function podGroups(t: Test): PodGroups {
  const top = join(hierarchy() ?? '', `nsm-test-${process.pid}-${Date.now()}`)
  const made = new Set<string>()
  const children = new Set<ChildProcess>()
  t.teardown(async () => {
    for (const child of children) child.kill('SIGKILL')
    for (const group of [...made].toReversed()) await until(`${group} is removed`, () => isRemoved(group))
  })
  return {
    spawnIn(uid, [file = '', ...args], env = {}) {
      const group = make(top, ['kubepods', 'burstable', `pod${uid}`, 'a'.repeat(64)], made)
      const script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
      const child = spawn('sh', ['-c', script, group, file, ...args], {
        env: { ...process.env, ...env },
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      children.add(child)
      return child
    },
  }
}

/** The unified hierarchy, or that of pids. */
function hierarchy(): string | undefined {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
  const unified = mounts.find(([, , type]) => type === 'cgroup2')
  const pids = mounts.find(
    ([, , type, options = '']) => type === 'cgroup' && options.split(',').includes('pids'),
  )
  return (unified ?? pids)?.[1]
}

/** Each folder on the way from `top` is one to remove. */
function make(top: string, below: readonly string[], made: Set<string>): string {
  let path = top
  for (const name of ['', ...below]) {
    path = join(path, name)
    if (made.has(path)) continue
    mkdirSync(path, { recursive: true })
    made.add(path)
  }
  return path
}

function isRemoved(group: string): boolean {
  try {
    rmdirSync(group)
    return true
  } catch (err) {
    return (err as NodeJS.ErrnoException).code === 'ENOENT'
  }
}

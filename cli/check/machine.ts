import { release } from 'node:os'
import { NsmError } from '@nsm/sdk/errors.js'
import { native } from '@nsm/native/native.js'
import { startSandbox, type Sandbox } from '../mesh/runner.ts'
import { programsIn, runnerIn } from '../mesh/programs.ts'
import { fault, ok, warning, type Finding } from './finding.ts'
import { isBefore } from './kernels.ts'
import type { Section } from './check.ts'

const build = 'scripts/setup builds it'

/** Whether a mesh can be started on this machine: each thing that it needs is tried, and leaves nothing. */
export async function checkMachine(bundles: string, signal: AbortSignal): Promise<Section> {
  const findings = [
    process.getuid?.() === 0 ? ok('this is root') : fault('a mesh needs root', 'sudo nsm check'),
    kernelFinding(release()),
    await tried('the programs are built', build, () => programsIn(bundles, 0)),
  ]
  const runner = runnerIn(bundles)
  const boxes: Sandbox[] = []
  try {
    const made = await tried(
      'network, mount and process namespaces can be made',
      'a kernel with namespaces, and root',
      async () => {
        boxes.push(await startSandbox({ runner, hostname: 'nsm-check-a' }, signal))
        boxes.push(await startSandbox({ runner, hostname: 'nsm-check-b' }, signal))
      },
    )
    const [a, b] = boxes
    if (a === undefined || b === undefined) return { title: 'This machine', findings: [...findings, made] }
    const overlay = await tried(
      'a pod can have a file system of its own',
      'a kernel with overlayfs',
      async () => emptyRoot(a),
    )
    const wired = await tried('two pods can be joined by an interface', 'a kernel with veth', async () =>
      join(a, b),
    )
    return { title: 'This machine', findings: [...findings, made, overlay, wired] }
  } finally {
    await Promise.all(boxes.map(async (box) => box.close()))
  }
}

async function tried(what: string, needs: string, attempt: () => unknown): Promise<Finding> {
  try {
    await attempt()
    return ok(what)
  } catch (reason) {
    return fault(`${what}: no, ${NsmError.from(reason).message}`, needs)
  }
}

async function emptyRoot(box: Sandbox): Promise<void> {
  let output = ''
  const command = { argv: [process.execPath, '--version'], env: {}, root: { binds: [] } }
  const { code } = await box.run(command, (chunk) => {
    output += chunk.toString()
  }).ended
  if (code !== 0) throw new NsmError('FAILED_PRECONDITION', output.trim())
}

async function join(a: Sandbox, b: Sandbox): Promise<void> {
  const fds = [a, b].map(({ pid }) => native.open(`/proc/${pid}/ns/net`, 'read'))
  try {
    const [first = -1, second = -1] = fds
    const ends = { a: { netnsFd: first, name: 'nsm-1' }, b: { netnsFd: second, name: 'nsm-1' } }
    await native.createVeth({ ...ends, mtu: 1_500, group: 0 })
  } finally {
    for (const fd of fds) native.close(fd)
  }
}

/** Nodes of a local mesh have process namespaces of their own. */
export function kernelFinding(version: string): Finding {
  return isBefore(version, 6, 5)
    ? warning(
        `kernel ${version}: before 6.5 nsmgr can't compare the network namespace that a pod passes with the pod's own`,
        'enough for trying: pods pass their own, and nobody else is on this machine',
      )
    : ok(`the kernel has all that is used: ${version}`)
}

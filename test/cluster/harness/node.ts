import path from 'node:path'
import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { killProcesses, makeCgroup, processesOf, removeCgroup } from './cgroups.ts'
import { kubectl } from './client.ts'
import { run, type RunOptions } from './command.ts'
import { daemonReady, isRunning, startDaemon, type Daemon } from './daemon.ts'
import type { Layout, NodeLayout } from './layout.ts'
import { makeNodeNetwork, removeNetns } from './network.ts'
import { nodeFile, writeNodeFiles } from './node-files.ts'
import { pkiFile } from './pki.ts'
import type { Tools } from './tools.ts'
import { waitFor } from './wait-for.ts'

/** The processes of a node beside its pods. */
export interface NodeDaemons {
  readonly containerd: Daemon
  readonly kubelet: Daemon
  readonly kubeProxy: Daemon
}

/**
 * What a node has of its own, set up in its mount namespace: its file systems below the places where a node has them, seen by its
 * pods as they are mounted. Its process 1 holds it all: with that, everything of the node ends.
 */
const boot = `set -e
node=$1 name=$2 init=$3
echo "$name" > /proc/sys/kernel/hostname
# Copies of the machine's mounts would keep other nodes' namespaces.
while umount -l /run/netns 2>/dev/null; do :; done
mount --bind "$node/var-lib" /var/lib
mount --bind "$node/var-log" /var/log
mount --bind "$node/opt" /opt
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$node/etc,workdir=$node/etc-work" /etc
mount -t tmpfs -o mode=755 tmpfs /run
mount --make-rshared /
exec "$init"
`

/** Process 1 of the node, by its number on this machine; undefined when the node is off. */
export function nodeInit(node: NodeLayout): number | undefined {
  return processesOf(initCgroup(node)).find((pid) => {
    try {
      return /^NSpid:\t\d+\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
    } catch {
      return false
    }
  })
}

const initCgroup = (node: NodeLayout): string => `${node.cgroup}/init`

/** Words before a command that make it run in the node. @throws when the node is off. */
export function inNode(node: NodeLayout): string[] {
  const init = nodeInit(node)
  if (init === undefined) throw new Error(`node ${node.name} is off`)
  return ['nsenter', `--target=${init}`, '--mount', '--uts', '--net', '--pid', '--']
}

/** @throws when the node is off. */
export function nodeDaemons(layout: Layout, node: NodeLayout, tools: Tools): NodeDaemons {
  const enter = inNode(node)
  const daemon = (name: string, argv: readonly string[]): Daemon => ({
    name: `${name} of ${node.name}`,
    cgroup: `${node.cgroup}/${name}`,
    log: path.join(layout.folder, 'logs', `${node.name}-${name}.log`),
    argv: [...enter, ...argv],
    env: { PATH: `${tools.path}:${process.env['PATH'] ?? ''}` },
  })
  return {
    containerd: daemon('containerd', ['containerd', '--config', nodeFile(node, 'config/containerd.toml')]),
    kubelet: daemon('kubelet', [
      ...tools.component('kubelet'),
      `--config=${nodeFile(node, 'config/kubelet.json')}`,
      `--kubeconfig=${pkiFile(layout, `${node.name}.kubeconfig`)}`,
      `--hostname-override=${node.name}`,
      `--node-ip=${node.address}`,
    ]),
    kubeProxy: daemon('kube-proxy', [
      ...tools.component('kube-proxy'),
      `--config=${nodeFile(node, 'config/kube-proxy.json')}`,
    ]),
  }
}

/** Gives the node its network and its process 1, and starts containerd. What it had on disk it has again. */
export async function bootNode(layout: Layout, node: NodeLayout, tools: Tools): Promise<void> {
  writeNodeFiles(layout, node, tools)
  await makeNodeNetwork(layout, node)
  makeCgroup(node.cgroup)
  await startDaemon({
    name: node.name,
    cgroup: initCgroup(node),
    log: path.join(layout.folder, 'logs', `${node.name}-boot.log`),
    argv: [
      ...['nsenter', `--net=/run/netns/${node.netns}`, '--'],
      ...[
        'unshare',
        '--mount',
        '--propagation=slave',
        '--uts',
        '--pid',
        '--fork',
        '--kill-child',
        '--mount-proc',
      ],
      ...['sh', '-c', boot, 'boot', node.folder, node.name, tools.pause],
    ],
  })
  await waitFor(`node ${node.name} to boot`, () => isBooted(node), 20_000)
  await startContainerd(layout, node, tools)
}

/** Starts the booted node's containerd and waits until it answers. */
export async function startContainerd(layout: Layout, node: NodeLayout, tools: Tools): Promise<void> {
  const { containerd } = nodeDaemons(layout, node, tools)
  await startDaemon(containerd)
  // It answers before the part that kubelet speaks to is there.
  await daemonReady(containerd, async (signal) =>
    /\bcri +\S+ +ok\b/.test(await ctr(node, tools, ['plugins', 'ls'], { signal })),
  )
}

function isBooted(node: NodeLayout): boolean {
  const init = nodeInit(node)
  return init !== undefined && readFileSync(`/proc/${init}/comm`, 'utf8').trim() === 'pause'
}

const readiness = ['status', 'lastHeartbeatTime']
  .map((field) => `{.status.conditions[?(@.type=="Ready")].${field}}`)
  .join(' ')

/** Starts what makes the booted node a part of the cluster, and waits until it is Ready. */
export async function joinNode(layout: Layout, node: NodeLayout, tools: Tools): Promise<void> {
  const begin = Date.now()
  const daemons = nodeDaemons(layout, node, tools)
  await startDaemon(daemons.kubeProxy)
  const isReady = async (signal: AbortSignal): Promise<boolean> => {
    const question = ['get', 'node', node.name, '-o', `jsonpath=${readiness}`]
    const said = await kubectl(layout, tools, question, { signal })
    const [status, heartbeat = ''] = said.split(' ')
    // What it said before it was off does not count. Kubernetes' times are whole seconds.
    return status === 'True' && Date.parse(heartbeat) > begin - 1_000
  }
  await startPatiently(daemons.kubelet, isReady)
  if (!isRunning(daemons.kubeProxy))
    throw new Error(`${daemons.kubeProxy.name} has ended: see ${daemons.kubeProxy.log}`)
}

/** kubelet ends when containerd is still reading what it had: it is started again, as a service manager would. */
async function startPatiently(
  daemon: Daemon,
  isReady: (signal: AbortSignal) => Promise<boolean>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    await startDaemon(daemon)
    try {
      await daemonReady(daemon, isReady)
      return
    } catch (err) {
      if (attempt === 10 || isRunning(daemon)) throw err
      await pause(1_000)
    }
  }
}

/** Ends everything of the node at one blow; only its disk remains. */
export async function cutPower(node: NodeLayout): Promise<void> {
  const init = nodeInit(node)
  if (init !== undefined) process.kill(init, 'SIGKILL')
  await killProcesses(node.cgroup)
  await removeCgroup(node.cgroup)
  await removeNetns(node.netns)
}

/** Runs containerd's client in the node. */
async function ctr(
  node: NodeLayout,
  tools: Tools,
  args: readonly string[],
  options: Pick<RunOptions, 'inputFile' | 'signal'>,
): Promise<string> {
  return run([...inNode(node), tools.ctr, '--namespace', 'k8s.io', ...args], options)
}

/** Gives the node the images of a docker or OCI archive. */
export async function importImages(node: NodeLayout, tools: Tools, archive: string): Promise<void> {
  await ctr(node, tools, ['images', 'import', '-'], { inputFile: archive })
}

import { rmdirSync } from 'node:fs'
import path from 'node:path'
import { cgroupFolders, killProcesses, makeCgroup, processesOf, removeCgroup } from './cgroups.ts'
import { clusterDns, grants } from './addons.ts'
import { kubectl } from './client.ts'
import { controlPlaneOf, startApiServer } from './control-plane.ts'
import { startDaemon } from './daemon.ts'
import { exclusive } from './exclusive.ts'
import { allowFileWatches, restoreFileWatches } from './file-watches.ts'
import { ownImages } from './image-archive.ts'
import { layoutOf, type Layout } from './layout.ts'
import { freeRange, makeNetwork, removeNetwork } from './network.ts'
import { bootNode, importImages, joinNode } from './node.ts'
import { makePki } from './pki.ts'
import type { Progress } from './progress.ts'
import {
  isOrphan,
  layoutOfState,
  processIdentity,
  readState,
  removeFiles,
  states,
  writeState,
  type ClusterState,
} from './state.ts'
import { openTools, type Minor, type Tools } from './tools.ts'
import { waitFor } from './wait-for.ts'

export interface UpOptions {
  readonly name: string
  /** 0 = etcd and API server alone. */
  readonly nodes: number
  readonly minor?: Minor
  /** Number of the process that the cluster is for, 0 = of nobody; default this process. When it has ended, the next `up` removes it. */
  readonly owner?: number
  readonly progress: Progress
}

/** Brings a cluster up, after removing what a run that was killed has left of it. Does nothing when it is up. */
export async function up(options: UpOptions): Promise<Layout> {
  const { name, minor = '1.37', progress } = options
  const tools = await openTools(progress, minor, options.nodes === 0)
  for (const { name: orphan } of states().filter((state) => state.name !== name && isOrphan(state)))
    await removeOrphan(orphan, progress)
  const onWait = (): void => progress.say(`another process works on cluster ${name}: waiting for it`)
  return exclusive(`cluster-${name}`, onWait, async () => make(options, tools))
}

/** Another cluster that cannot be removed is no reason to bring none up. */
async function removeOrphan(name: string, progress: Progress): Promise<void> {
  const removal = async (): Promise<void> => {
    const state = readState(name)
    // Another process may have been faster.
    if (state !== undefined && isOrphan(state)) await remove(name)
  }
  await progress
    .step(`removal of ${name}, whose user is gone`, async () => alone(name, removal))
    .catch((err: unknown) => progress.say(`cluster ${name} could not be removed: ${String(err)}`))
}

async function make(options: UpOptions, tools: Tools): Promise<Layout> {
  const { name, nodes, minor = '1.37', progress } = options
  const known = readState(name)
  // After a restart of the machine there is only what was on its disk.
  if (known?.ready === true && !isOrphan(known) && processesOf(layoutOfState(known).cgroup).length > 0) {
    progress.say(`cluster ${name} is up already`)
    return layoutOfState(known)
  }
  if (known !== undefined) await progress.step(`removed what was left of ${name}`, async () => remove(name))
  else await removeFiles(name)
  const owner = processIdentity(options.owner ?? process.pid)
  const state = await exclusive(
    'range',
    () => undefined,
    async () => claim({ name, nodes, minor, ready: false, ...(owner === undefined ? {} : { owner }) }),
  )
  const layout = layoutOfState(state)
  await makeControlPlane(layout, tools, progress)
  if (nodes > 0) await makeNodes(layout, tools, progress)
  await writeState({ ...state, ready: true })
  return layout
}

/** Writes down what the cluster will be made of, before it is made. */
async function claim(cluster: Omit<ClusterState, 'range'>): Promise<ClusterState> {
  layoutOf(cluster.name, cluster.nodes, 0)
  const state = { ...cluster, range: await freeRange(states().map(({ range }) => range)) }
  await writeState(state)
  return state
}

async function makeControlPlane(layout: Layout, tools: Tools, progress: Progress): Promise<void> {
  await progress.step('certificates and network', async () => {
    makeCgroup(layout.cgroup)
    await Promise.all([makePki(layout), makeNetwork(layout)])
  })
  await progress.step('etcd and API server', async () => startApiServer(layout, tools))
  await waitFor(
    'the default namespace',
    async (signal) =>
      (await kubectl(layout, tools, ['get', 'namespace', 'default', '-o', 'name'], { signal })) !== '',
  )
}

async function makeNodes(layout: Layout, tools: Tools, progress: Progress): Promise<void> {
  allowFileWatches(layout.nodes.length, progress)
  const plane = controlPlaneOf(layout, tools)
  await startDaemon(plane.controllerManager)
  await startDaemon(plane.scheduler)
  await apply(layout, tools, [...grants, ...layout.nodes.map(nodeObject)])
  await progress.step('containerd of each node, with images', async () => {
    const images = await ownImages(path.join(layout.folder, 'images'), tools)
    await Promise.all(
      layout.nodes.map(async (node) => {
        await bootNode(layout, node, tools)
        for (const image of images) await importImages(node, tools, image)
      }),
    )
  })
  await progress.step(`${layout.nodes.length} nodes Ready`, async () => {
    await Promise.all(layout.nodes.map(async (node) => joinNode(layout, node, tools)))
  })
  await progress.step('cluster DNS', async () => {
    await apply(layout, tools, clusterDns)
    await kubectl(layout, tools, [
      'rollout',
      'status',
      '-n',
      'kube-system',
      'deployment/coredns',
      '--timeout=120s',
    ])
  })
}

/** A node is known before its kubelet registers it: so its pods' range is the one that the routes lead to. */
function nodeObject(node: Layout['nodes'][number]): Readonly<Record<string, unknown>> {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: node.name },
    spec: { podCIDR: node.podCidr, podCIDRs: [node.podCidr] },
  }
}

async function apply(layout: Layout, tools: Tools, objects: readonly unknown[]): Promise<void> {
  const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects })
  await kubectl(layout, tools, ['apply', '-f', '-'], { input: list })
}

/** Ends a cluster and removes all of it: processes, namespaces with the mounts in them, control groups, files. */
export async function down(name: string): Promise<void> {
  await alone(name, async () => remove(name))
}

async function alone(name: string, work: () => Promise<void>): Promise<void> {
  await exclusive(`cluster-${name}`, () => undefined, work)
}

async function remove(name: string): Promise<void> {
  const state = readState(name)
  if (state === undefined) return
  const layout = layoutOfState(state)
  // Half of a cluster is not up, should this be killed on the way. On a full disk that cannot be written down.
  await writeState({ ...state, ready: false }).catch(() => undefined)
  await killProcesses(layout.cgroup)
  await removeNetwork(layout)
  await removeCgroup(layout.cgroup)
  removeSharedCgroup(path.dirname(layout.cgroup))
  await removeFiles(name)
  if (states().length === 0) restoreFileWatches()
}

/** The group of all clusters goes with the last of them. */
function removeSharedCgroup(group: string): void {
  for (const folder of cgroupFolders(group)) {
    try {
      rmdirSync(folder)
    } catch {
      // Others are in it, or it was never made.
    }
  }
}

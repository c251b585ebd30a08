import { clientEnv, kubectl as runKubectl } from './client.ts'
import { run } from './command.ts'
import { controlPlaneOf, startApiServer } from './control-plane.ts'
import { daemonReady, isRunning, killDaemon, startDaemon, stopDaemon, type Daemon } from './daemon.ts'
import type { Layout, NodeLayout } from './layout.ts'
import {
  bootNode,
  cutPower,
  importImages,
  inNode,
  joinNode,
  nodeDaemons,
  nodeInit,
  startContainerd,
  type NodeDaemons,
} from './node.ts'
import { progress } from './progress.ts'
import { layoutOfState, readState } from './state.ts'
import { openTools, type Tools } from './tools.ts'
import { waitFor } from './wait-for.ts'

/** A process of the control plane or of a node, as a test stops and starts it. */
export interface Part {
  isRunning(): boolean
  /** Ends it in order and waits for that. */
  stop(): Promise<void>
  /** Ends it without warning. */
  kill(): Promise<void>
  /** Starts it and waits until it is ready, as far as that can be asked. */
  start(): Promise<void>
}

export interface ClusterNode {
  readonly name: string
  readonly address: string
  /** File of its network namespace on this machine; another one after `powerOn`. */
  readonly netns: string
  readonly containerd: Part
  readonly kubelet: Part
  readonly kubeProxy: Part
  /** Runs a program of this machine in all namespaces of the node and answers its standard output. */
  run(argv: readonly string[]): Promise<string>
  /** Ends every process of the node at one blow, pods included; only its disk remains. */
  powerOff(): Promise<void>
  /** Boots the node and waits until it is Ready. Pods come back as kubelet sees to it. */
  powerOn(): Promise<void>
  isOn(): boolean
  /** Takes all images of a docker or OCI archive. */
  importImages(archive: string): Promise<void>
}

export interface PodName {
  readonly namespace: string
  readonly name: string
  /** Default: the pod's first. */
  readonly container?: string
}

/** A cluster that is up, as tests use it. */
export interface Cluster {
  readonly name: string
  readonly kubeconfig: string
  readonly apiServer: Part
  readonly controllerManager: Part
  readonly scheduler: Part
  readonly etcd: Part
  readonly nodes: readonly [ClusterNode, ...ClusterNode[]]
  /** @throws Error of that name when there is none. */
  node(name: string): ClusterNode
  /** Answers what kubectl prints; ends it after 10 min, or with the signal. @throws CommandError, whose `stderr` has kubectl's reason. */
  kubectl(args: readonly string[], input?: string, signal?: AbortSignal): Promise<string>
  /** What kubectl prints with `-o json`. */
  json<T>(args: readonly string[]): Promise<T>
  /** Applies YAML text, or objects. */
  apply(manifest: string | readonly object[], ...args: readonly string[]): Promise<void>
  helm(args: readonly string[]): Promise<string>
  /** Runs a command in a container and answers its standard output. */
  exec(pod: PodName, command: readonly string[], signal?: AbortSignal): Promise<string>
  /** Waits for a condition as `kubectl wait --for` takes it. */
  wait(what: readonly string[], condition: string, timeoutMs?: number): Promise<void>
  /** Events of the namespace, or of one object in it, in the order of their first time. */
  events(namespace: string, object?: string): Promise<readonly ClusterEvent[]>
}

export interface ClusterEvent {
  readonly type: string
  readonly reason: string
  readonly message: string
  readonly count?: number
  readonly involvedObject: { readonly kind: string; readonly name: string }
}

/** The cluster that is up under this name. @throws when there is none, or none with nodes. */
export async function connectCluster(name: string = process.env['NSM_CLUSTER'] ?? 'dev'): Promise<Cluster> {
  const state = readState(name)
  if (state?.ready !== true)
    throw new Error(`there is no cluster ${name}: npm run cluster -- --name ${name} up`)
  const layout = layoutOfState(state)
  const tools = await openTools(progress(() => undefined))
  const [node, ...others] = layout.nodes.map((one) => clusterNode(layout, one, tools))
  if (node === undefined) throw new Error(`cluster ${name} is an API server alone: one with nodes is needed`)
  const nodes: Cluster['nodes'] = [node, ...others]
  const kubectl: Cluster['kubectl'] = async (args, input = '', signal) =>
    runKubectl(layout, tools, args, { input, ...(signal === undefined ? {} : { signal }) })

  return {
    name,
    kubeconfig: layout.kubeconfig,
    ...controlParts(layout, tools),
    nodes,
    node(wanted) {
      const found = nodes.find((one) => one.name === wanted)
      if (found === undefined) throw new Error(`cluster ${name} has no node ${wanted}`)
      return found
    },
    kubectl,
    async json<T>(args: readonly string[]) {
      return JSON.parse(await kubectl([...args, '-o', 'json'])) as T
    },
    async apply(manifest, ...args) {
      const list = { apiVersion: 'v1', kind: 'List', items: manifest }
      await kubectl(
        ['apply', '-f', '-', ...args],
        typeof manifest === 'string' ? manifest : JSON.stringify(list),
      )
    },
    helm: async (args) => run([tools.helm, ...args], { env: clientEnv(layout) }),
    async exec(pod, command, signal) {
      const container = pod.container === undefined ? [] : ['-c', pod.container]
      return kubectl(['exec', '-n', pod.namespace, pod.name, ...container, '--', ...command], '', signal)
    },
    async wait(what, condition, timeoutMs = 120_000) {
      await kubectl(['wait', ...what, `--for=${condition}`, `--timeout=${timeoutMs / 1_000}s`])
    },
    async events(namespace, object) {
      const about = object === undefined ? [] : [`--field-selector=involvedObject.name=${object}`]
      const args = [
        'get',
        'events',
        '-n',
        namespace,
        '--sort-by=.metadata.creationTimestamp',
        ...about,
        '-o',
        'json',
      ]
      return (JSON.parse(await kubectl(args)) as { items: ClusterEvent[] }).items
    },
  }
}

function controlParts(
  layout: Layout,
  tools: Tools,
): Pick<Cluster, 'apiServer' | 'controllerManager' | 'scheduler' | 'etcd'> {
  const plane = controlPlaneOf(layout, tools)
  return {
    apiServer: { ...part(() => plane.apiServer), start: async () => startApiServer(layout, tools) },
    controllerManager: part(() => plane.controllerManager),
    scheduler: part(() => plane.scheduler),
    etcd: part(() => plane.etcd),
  }
}

/** `daemon` is asked for each time: how a node is entered changes when it boots. */
function part(daemon: () => Daemon): Part {
  return {
    isRunning: () => isRunning(daemon()),
    stop: async () => stopDaemon(daemon()),
    kill: async () => killDaemon(daemon()),
    async start() {
      await startDaemon(daemon())
      await daemonReady(daemon(), async () => true)
    },
  }
}

function clusterNode(layout: Layout, node: NodeLayout, tools: Tools): ClusterNode {
  const isOn = (): boolean => nodeInit(node) !== undefined
  const nodePart = (pick: (daemons: NodeDaemons) => Daemon): Part => {
    const daemon = (): Daemon => pick(nodeDaemons(layout, node, tools))
    return { ...part(daemon), isRunning: () => isOn() && isRunning(daemon()) }
  }
  return {
    name: node.name,
    address: node.address,
    netns: `/run/netns/${node.netns}`,
    containerd: {
      ...nodePart((daemons) => daemons.containerd),
      start: async () => startContainerd(layout, node, tools),
    },
    kubelet: {
      ...nodePart((daemons) => daemons.kubelet),
      start: async () => joinNode(layout, node, tools),
    },
    kubeProxy: nodePart((daemons) => daemons.kubeProxy),
    run: async (argv) => run([...inNode(node), ...argv]),
    isOn,
    powerOff: async () => cutPower(node),
    async powerOn() {
      await bootNode(layout, node, tools)
      await joinNode(layout, node, tools)
      await waitFor(`node ${node.name} to take pods`, async (signal) =>
        isSchedulable(layout, node, tools, signal),
      )
    },
    importImages: async (archive) => importImages(node, tools, archive),
  }
}

/** The taint of a node that was away goes a moment after it is Ready. */
async function isSchedulable(
  layout: Layout,
  node: NodeLayout,
  tools: Tools,
  signal: AbortSignal,
): Promise<boolean> {
  const question = ['get', 'node', node.name, '-o', 'jsonpath={.spec.taints}']
  return (await runKubectl(layout, tools, question, { signal })) === ''
}

import { chmod, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { systemClock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { sleep } from '@nsm/sdk/sleep.js'
import { namespaceOf, type Namespace, type Pod } from '../manifest/objects.ts'
import { addressPlan, type AddressPlan } from './addresses.ts'
import { admit, type Admitted } from './admission.ts'
import { changeSignal } from './change-signal.ts'
import type { Programs } from './container-command.ts'
import { clusterDns, type ClusterDns } from './cluster-dns.ts'
import { startControlPlane, type ControlPlane } from './control-plane.ts'
import { startIdentity, type MeshIdentity } from './identity.ts'
import { untilTaken } from './namespace-probe.ts'
import { namespacesIn, type Namespaces } from './namespaces.ts'
import { lastLines } from './log-file.ts'
import { makeSwitch } from './network.ts'
import { networkServices, type NetworkServices } from './network-services.ts'
import { partGraceMs, startNode, type MeshNode, type NodeOptions } from './node.ts'
import { paths, type MeshOptions } from './options.ts'
import type { Part } from './part.ts'
import { RunningPod, type NamedPod } from './pod.ts'
import { processId, type ProcessId } from './processes.ts'
import { programsIn, runnerIn } from './programs.ts'
import type { Sandbox } from './runner.ts'
import { replaceFile } from './state.ts'
import { Workloads } from './workloads.ts'

export interface MeshCallbacks {
  /** A step of the start, for people. */
  progress(text: string): void
  readonly log: Logger
}

const readyTimeoutMs = 60_000
const replacePauseMs = 1_000
/** A part that ended so often before it was ever ready won't become so. */
const hopelessRestarts = 5

/** A whole mesh: control plane, nodes and pods, all of which end with it. */
export class Mesh {
  readonly options: MeshOptions
  readonly workloads: Workloads
  private readonly callbacks: MeshCallbacks
  private readonly stopping = new AbortController()
  private readonly changes = changeSignal()
  private readonly plan: AddressPlan
  private readonly programs: Programs
  private readonly nodes: MeshNode[] = []
  private readonly sandboxes = new Map<number, ProcessId>()
  private identity: MeshIdentity | undefined
  private control: ControlPlane | undefined
  private services: NetworkServices | undefined
  private names: ClusterDns | undefined
  private known: Namespaces | undefined
  private nextNode = 0
  private writing: Promise<void> = Promise.resolve()

  constructor(options: MeshOptions, callbacks: MeshCallbacks) {
    this.options = options
    this.callbacks = callbacks
    this.plan = addressPlan(options.underlay, options.podCidr)
    this.programs = programsIn(options.bundles, options.tokenSeconds)
    this.workloads = new Workloads({
      clock: systemClock,
      log: callbacks.log,
      signal: this.stopping.signal,
      admit: async (pod) => this.admit(pod, false),
      start: (pod, how) => this.startPod(pod, how),
      onGone: (pod) => {
        if (pod.netns !== undefined) this.identity?.removePod(pod.netns)
      },
    })
  }

  get namespaces(): Namespaces {
    return this.started(this.known)
  }

  get networkServices(): NetworkServices {
    return this.started(this.services)
  }

  /** Makes a namespace known, to the webhook too. */
  async applyNamespace(namespace: Namespace): Promise<void> {
    await this.namespaces.apply(namespace)
    await untilTaken(namespace, async (pod) => (await this.admit(pod, true)).pod, this.stopping.signal)
  }

  /** Parts by node, the control plane's first. */
  parts(): readonly { readonly node: string; readonly part: Part }[] {
    return [
      ...(this.control?.parts ?? []).map((part) => ({ node: '', part })),
      ...this.nodes.flatMap((node) => node.parts.map((part) => ({ node: node.name, part }))),
    ]
  }

  /** Resolves when everything is up. The network namespace of this process becomes the mesh's switch. */
  async start(): Promise<void> {
    const { folder, trustDomain, nodes } = this.options
    const { log } = this.callbacks
    const { signal } = this.stopping
    const at = paths(folder)
    for (const path of [at.workloadApi, dirname(at.webhookCa), at.logs])
      await mkdir(path, { recursive: true })
    // Pods' users reach the socket in it; the folders above stay closed.
    await chmod(at.workloadApi, 0o755)
    await makeSwitch(this.plan)
    this.names = await clusterDns(this.plan.switchIp, () => this.workloads.named())
    this.identity = await startIdentity({ trustDomain, folder: at.workloadApi, log })
    this.known = await namespacesIn(at.namespaces)
    this.control = await startControlPlane(
      {
        runner: runnerIn(this.options.bundles),
        ip: this.plan.switchIp,
        workloadApi: at.workloadApi,
        namespacesFile: at.namespaces,
        webhookCaFile: at.webhookCa,
        part: this.partDefaults(),
      },
      signal,
    )
    this.track(this.control.sandbox, 'control plane')
    for (let i = 0; i < nodes; i++) this.nodes.push(await this.startNode(i))
    await this.waitForParts()
    this.services = await networkServices({
      registryUrl: this.control.registryUrl,
      workloadApi: this.identity.socket,
      log,
      signal,
    })
    this.callbacks.progress(
      `mesh "${this.options.name}" is up: ${nodes} node${nodes === 1 ? '' : 's'}, trust domain ${trustDomain}`,
    )
  }

  /** Ends pods, then nodes, then the control plane. */
  async close(): Promise<void> {
    await this.workloads.close()
    this.stopping.abort(new NsmError('CANCELLED', 'the mesh is going down'))
    this.changes.changed()
    await Promise.all(this.nodes.map((node) => node.stop()))
    this.services?.close()
    await this.names?.close()
    await this.control?.stop(partGraceMs)
    await this.identity?.close()
    await this.writing
  }

  private async admit(pod: Pod, dryRun: boolean): Promise<Admitted> {
    const caFile = paths(this.options.folder).webhookCa
    return admit(pod, { ...this.started(this.control).webhook, caFile, dryRun }, this.stopping.signal)
  }

  private async waitForParts(): Promise<void> {
    const told = new Set<string>()
    const late = AbortSignal.timeout(readyTimeoutMs)
    const allReady = (): boolean => {
      for (const { part } of this.parts()) {
        if (part.status.ready && !told.has(part.name)) this.callbacks.progress(`${part.name} is ready`)
        if (part.status.ready) told.add(part.name)
        if (part.status.restarts >= hopelessRestarts)
          throw new NsmError('UNAVAILABLE', `${part.name} keeps ending`)
      }
      return this.parts().every(({ part }) => part.status.ready)
    }
    try {
      await this.changes.until(allReady, AbortSignal.any([this.stopping.signal, late]))
    } catch (err) {
      if (this.stopping.signal.aborted) throw err
      const reason = late.aborted
        ? `not everything is ready within ${readyTimeoutMs / 1_000} s`
        : NsmError.from(err).message
      throw new NsmError('UNAVAILABLE', [reason, ...(await this.complaints())].join('\n'), { cause: err })
    }
  }

  /** The last words of the parts that aren't ready. */
  private async complaints(): Promise<readonly string[]> {
    const late = this.parts().filter(({ part }) => !part.status.ready)
    return Promise.all(
      late.map(async ({ part: { name, status } }) => {
        const tail = await lastLines(join(paths(this.options.folder).logs, `${name}.log`), 3)
        return `${name}: ${status.reason || status.message || 'starting'}\n${tail}`
      }),
    )
  }

  private partDefaults(): NodeOptions['part'] {
    return {
      programs: this.programs,
      logFolder: paths(this.options.folder).logs,
      clock: systemClock,
      onLaunch: (name, process) => this.identity?.addPart(name, process.outerPid),
      onChange: () => this.changes.changed(),
    }
  }

  private async startNode(index: number): Promise<MeshNode> {
    const { folder, bundles, underlay, podCidr, excludedPrefixes } = this.options
    const at = paths(folder)
    const name = `node-${index + 1}`
    const node = await startNode(
      {
        name,
        index,
        plan: this.plan,
        folders: { workloadApi: at.workloadApi, manager: at.manager(name) },
        runner: runnerIn(bundles),
        registryUrl: this.started(this.control).registryUrl,
        excludedPrefixes: [underlay, podCidr, ...excludedPrefixes],
        part: this.partDefaults(),
      },
      this.stopping.signal,
    )
    this.track(node.sandbox, name)
    void node.sandbox.ended.then(async () => this.replaceNode(index, node))
    return node
  }

  /** A node whose sandbox was killed took its pods' links with it: all of it is made anew, however often that takes. */
  private async replaceNode(index: number, lost: MeshNode): Promise<void> {
    const { signal } = this.stopping
    const { log } = this.callbacks
    if (signal.aborted || this.nodes[index] !== lost) return
    log.warn({ node: lost.name }, 'node lost, made anew')
    await lost.stop()
    while (!signal.aborted && this.nodes[index] === lost)
      try {
        this.nodes[index] = await this.startNode(index)
      } catch (err) {
        log.error({ node: lost.name, err: NsmError.from(err).message }, 'node not replaced yet')
        await sleep({ clock: systemClock, signal }, replacePauseMs).catch(() => undefined)
      }
    const pods = this.workloads.running().filter(({ status }) => status.node === lost.name)
    await Promise.all(pods.map(async (pod) => this.restart(pod)))
  }

  private startPod(
    object: NamedPod,
    { uid, node, onChange }: { uid: string; node: string | undefined; onChange: () => void },
  ): RunningPod {
    const { folder, bundles } = this.options
    const at = paths(folder)
    const name = `${namespaceOf(object)}/${object.metadata.name}`
    const pod: RunningPod = new RunningPod({
      object,
      uid,
      host: this.hostFor(object, node),
      runner: runnerIn(bundles),
      programs: this.programs,
      folder: at.pod(uid),
      logFolder: at.logs,
      clock: systemClock,
      onSandbox: (sandbox) => {
        this.identity?.addPod(sandbox.netns, namespaceOf(object), object.metadata.name)
        this.track(sandbox, name)
        void sandbox.ended.then(async () => this.replacePod(pod))
      },
      onChange: () => {
        onChange()
        this.changes.changed()
      },
    })
    return pod
  }

  /** A pod whose sandbox was killed lost everything: it is started anew under its name. */
  private async replacePod(pod: RunningPod): Promise<void> {
    const { namespace, name, phase } = pod.status
    if (this.stopping.signal.aborted || phase === 'Terminating') return
    this.callbacks.log.warn({ pod: `${namespace}/${name}` }, 'sandbox lost, pod started again')
    await this.restart(pod)
  }

  private async restart(pod: RunningPod): Promise<void> {
    await this.workloads.restart(pod).catch((err: unknown) => {
      const { namespace, name } = pod.status
      this.callbacks.log.error(
        { pod: `${namespace}/${name}`, err: NsmError.from(err).message },
        'pod not started again',
      )
    })
  }

  private hostFor({ spec }: NamedPod, bound: string | undefined): MeshNode {
    const wanted = bound ?? spec.nodeName ?? spec.nodeSelector?.['kubernetes.io/hostname']
    const found =
      wanted === undefined
        ? this.nodes[this.nextNode++ % this.nodes.length]
        : this.nodes.find(({ name }) => name === wanted)
    if (found !== undefined) return found
    const names = this.nodes.map(({ name }) => name).join(', ')
    throw new NsmError('FAILED_PRECONDITION', `there is no node ${wanted}; nodes are: ${names}`)
  }

  /** Keeps the list of sandboxes on disk, for whoever cleans up after this process was killed. */
  private track(sandbox: Sandbox, name: string): void {
    const write = (): void => {
      const list = JSON.stringify([...this.sandboxes.values()])
      this.writing = this.writing
        .then(() => replaceFile(paths(this.options.folder).sandboxes, list))
        .catch((err: unknown) => this.callbacks.log.warn({ name, err: String(err) }, 'sandboxes not noted'))
    }
    void processId(sandbox.pid).then((id) => {
      if (id !== undefined) this.sandboxes.set(sandbox.pid, id)
      write()
    })
    void sandbox.ended.then(() => {
      this.sandboxes.delete(sandbox.pid)
      if (!this.stopping.signal.aborted) write()
    })
  }

  private started<T>(part: T | undefined): T {
    if (part === undefined) throw new NsmError('UNAVAILABLE', 'the mesh is still starting')
    return part
  }
}

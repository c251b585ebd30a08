import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { PodFacts } from '../manifest/env.ts'
import {
  namespaceOf,
  type Container,
  type NamedMetadata,
  type Pod,
  type Sysctl,
} from '../manifest/objects.ts'
import { changeSignal } from './change-signal.ts'
import { commandOf, type Programs } from './container-command.ts'
import { ManagedContainer, type ContainerKind } from './container.ts'
import { execBeside } from './exec.ts'
import { logFile, type LogFile } from './log-file.ts'
import { writePodFiles, type NodeFolders } from './pod-files.ts'
import { summary, type PodStatus } from './pod-status.ts'
import { prober } from './probe.ts'
import { routesOf } from './routes.ts'
import { mannerOf, startSandbox, type Bind, type Manner, type Sandbox } from './runner.ts'

/** A pod that has its name. */
export type NamedPod = Pod & { readonly metadata: NamedMetadata }

/** The node that a pod runs on, as the pod needs it. */
export interface PodHost {
  readonly name: string
  readonly ip: string
  /** What stands for the cluster's DNS. */
  readonly nameserver: string
  readonly folders: NodeFolders
  /** RESOURCE_EXHAUSTED when none is left. */
  reserveIp(): string
  releaseIp(ip: string): void
  /** Gives a sandbox its `eth0`; answers its routes then. */
  attach(
    sandbox: Sandbox,
    network: { readonly ip: string; readonly sysctls: readonly Sysctl[] },
  ): Promise<readonly string[]>
}

export interface PodOptions {
  /** As the webhook returned it. */
  readonly object: NamedPod
  readonly uid: string
  readonly host: PodHost
  readonly runner: string
  readonly programs: Programs
  /** Holds what the pod has on disk; removed with it. */
  readonly folder: string
  readonly logFolder: string
  readonly clock: Clock
  onSandbox(sandbox: Sandbox): void
  onChange(): void
}

const defaultGraceSeconds = 30

/** One pod: sandbox and network, then native sidecars and init containers in their order, then the rest. */
export class RunningPod {
  readonly object: NamedPod
  readonly ip: string
  private readonly options: PodOptions
  private readonly namespace: string
  private readonly startedAtMs: number
  private readonly stopping = new AbortController()
  private readonly changes = changeSignal()
  private readonly containers = new Map<string, ManagedContainer>()
  private readonly manners = new Map<string, Manner>()
  private readonly logs: LogFile[] = []
  private readonly running: Promise<void>
  private sandbox: Sandbox | undefined
  private firstRoutes: readonly string[] = []
  private failure = ''
  private isStarted = false
  private stopped: Promise<void> | undefined

  /** Starts it; `status` tells how it goes. */
  constructor(options: PodOptions) {
    this.options = options
    this.object = options.object
    this.namespace = namespaceOf(options.object)
    this.ip = options.host.reserveIp()
    this.startedAtMs = options.clock.now()
    this.running = this.start().catch((err: unknown) => {
      if (!this.stopping.signal.aborted) this.failure = NsmError.from(err).message
      this.changed()
    })
  }

  /** Inode of its network namespace, once it has one. */
  get netns(): string | undefined {
    return this.sandbox?.netns
  }

  /** Routes as they were before any container ran, and as they are. */
  async routes(): Promise<{ readonly before: readonly string[]; readonly now: readonly string[] }> {
    if (this.sandbox === undefined) throw new NsmError('UNAVAILABLE', 'the pod has no network yet')
    return { before: this.firstRoutes, now: await routesOf(this.sandbox.pid) }
  }

  /** Not even its sandbox could be made: nothing of it has run. */
  get startFailed(): boolean {
    return this.failure !== '' && !this.isStarted
  }

  get status(): PodStatus {
    const { metadata, spec } = this.object
    const containers = [...this.containers.values()].map(({ status }) => status)
    const found = summary(spec, containers, this.failure)
    return {
      namespace: this.namespace,
      name: metadata.name,
      uid: this.options.uid,
      node: this.options.host.name,
      ip: this.ip,
      ...found,
      ...(this.startFailed ? { phase: 'Pending' } : {}),
      ...(this.stopped === undefined ? {} : { phase: 'Terminating', ready: false }),
      containers,
      startedAtMs: this.startedAtMs,
    }
  }

  /** Pid of a container's command, and how to run another one like it; NOT_FOUND names the containers that run. Default: the first of `spec.containers`. */
  async beside(
    name: string = this.object.spec.containers[0]?.name ?? '',
  ): Promise<{ readonly pid: number; readonly manner: Manner }> {
    const pid = await this.containers.get(name)?.process?.innerPid()
    const manner = this.manners.get(name)
    if (pid !== undefined && manner !== undefined) return { pid, manner }
    const running = [...this.containers]
      .filter(([, { process }]) => process !== undefined)
      .map(([known]) => known)
    throw new NsmError(
      'NOT_FOUND',
      `container ${name} of pod ${this.namespace}/${this.object.metadata.name} is not running; running are: ${running.join(', ') || 'none'}`,
    )
  }

  /** SIGTERM to the containers, sidecars last and in reverse; then nothing of the pod is left but its logs. */
  async stop(): Promise<void> {
    this.stopped ??= this.end()
    return this.stopped
  }

  private async start(): Promise<void> {
    const { object, host, runner } = this.options
    const { signal } = this.stopping
    const hostname = hostnameOf(object)
    this.sandbox = await startSandbox({ runner, hostname }, signal)
    void this.sandbox.ended.then(() => this.lost())
    this.options.onSandbox(this.sandbox)
    this.firstRoutes = await host.attach(this.sandbox, {
      ip: this.ip,
      sysctls: object.spec.securityContext?.sysctls ?? [],
    })
    const binds = await writePodFiles({
      spec: object.spec,
      namespace: this.namespace,
      hostname,
      podIp: this.ip,
      nameserver: host.nameserver,
      folder: this.options.folder,
      node: host.folders,
    })
    signal.throwIfAborted()
    this.isStarted = true
    await this.startContainers(this.sandbox, binds)
  }

  private async startContainers(
    sandbox: Sandbox,
    binds: (container: Container) => readonly Bind[],
  ): Promise<void> {
    const { spec } = this.object
    const { signal } = this.stopping
    for (const container of spec.initContainers ?? []) {
      const isSidecar = container.restartPolicy === 'Always'
      const started = this.launch(container, isSidecar ? 'sidecar' : 'init', {
        sandbox,
        binds: binds(container),
      })
      if (isSidecar) {
        await this.changes.until(() => started.status.started, signal)
        continue
      }
      const { code } = await started.finished
      signal.throwIfAborted()
      if (code !== 0) throw new NsmError('ABORTED', `init container ${container.name} ended with ${code}`)
    }
    const main = spec.containers.map((container) =>
      this.launch(container, 'main', { sandbox, binds: binds(container) }),
    )
    await Promise.all(main.map(({ finished }) => finished))
    // A pod whose own containers have all ended for good needs its sidecars no more.
    if (!signal.aborted) await this.stopOthers(graceMsOf(spec))
  }

  private launch(
    container: Container,
    kind: ContainerKind,
    { sandbox, binds }: { sandbox: Sandbox; binds: readonly Bind[] },
  ): ManagedContainer {
    const { options } = this
    const { spec, metadata } = this.object
    const log = logFile(join(options.logFolder, `${this.namespace}_${metadata.name}_${container.name}.log`))
    this.logs.push(log)
    const command = commandOf(container, { spec, facts: this.facts(), binds }, options.programs)
    const manner = mannerOf(command)
    this.manners.set(container.name, manner)
    const started: ManagedContainer = new ManagedContainer({
      spec: container,
      kind,
      restart: restartOf(kind, spec.restartPolicy),
      clock: options.clock,
      runProbe: prober({
        podIp: this.ip,
        ports: new Map((container.ports ?? []).map(({ name = '', containerPort }) => [name, containerPort])),
        exec: async (argv, signal) =>
          execBeside(
            { runner: options.runner, pid: await started.process?.innerPid(), argv, manner },
            signal,
          ),
      }),
      launch: () => sandbox.run(command, (chunk) => log.write(chunk)),
      onChange: () => this.changed(),
    })
    this.containers.set(container.name, started)
    return started
  }

  private facts(): PodFacts {
    const { host, uid } = this.options
    const { metadata, spec } = this.object
    return {
      name: metadata.name,
      namespace: this.namespace,
      uid,
      labels: metadata.labels ?? {},
      annotations: metadata.annotations ?? {},
      nodeName: host.name,
      serviceAccountName: spec.serviceAccountName ?? 'default',
      podIp: this.ip,
      hostIp: host.ip,
    }
  }

  private changed(): void {
    this.changes.changed()
    this.options.onChange()
  }

  /** Somebody killed the sandbox: nothing of the pod is alive any more. */
  private lost(): void {
    if (this.stopping.signal.aborted) return
    this.failure = 'its sandbox was killed'
    this.changed()
  }

  private async stopOthers(graceMs: number): Promise<void> {
    for (const container of [...this.containers.values()].toReversed())
      if (container.status.kind !== 'main') await container.stop(graceMs)
  }

  private async end(): Promise<void> {
    const { clock, host, folder } = this.options
    const deadline = clock.now() + graceMsOf(this.object.spec)
    const left = (): number => Math.max(0, deadline - clock.now())
    this.stopping.abort(new NsmError('CANCELLED', 'the pod is being deleted'))
    const main = [...this.containers.values()].filter(({ status }) => status.kind === 'main')
    await Promise.all(main.map((container) => container.stop(left())))
    await this.stopOthers(left())
    await this.running
    await this.sandbox?.close()
    await Promise.all(this.logs.map((log) => log.close()))
    await rm(folder, { recursive: true, force: true })
    host.releaseIp(this.ip)
  }
}

function graceMsOf(spec: Pod['spec']): number {
  return (spec.terminationGracePeriodSeconds ?? defaultGraceSeconds) * 1_000
}

function hostnameOf({ spec, metadata }: NamedPod): string {
  return (spec.hostname ?? metadata.name).slice(0, 63).replace(/[^a-z0-9]+$/, '')
}

function restartOf(
  kind: ContainerKind,
  policy: Pod['spec']['restartPolicy'] = 'Always',
): 'Always' | 'OnFailure' | 'Never' {
  if (kind === 'sidecar') return 'Always'
  if (kind === 'main') return policy
  return policy === 'Never' ? 'Never' : 'OnFailure'
}

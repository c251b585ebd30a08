import { randomUUID } from 'node:crypto'
import type { Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { namespaceOf, type Deployment, type Pod } from '../manifest/objects.ts'
import type { Admitted } from './admission.ts'
import { backOff, type BackOff } from './back-off.ts'
import { hashLabel, plan, podOf, randomSuffix, templateHash } from './deployments.ts'
import type { NamedPod, RunningPod } from './pod.ts'
import type { PodStatus } from './pod-status.ts'

export interface WorkloadsOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly signal: AbortSignal
  /** What the webhook makes of a pod; throws when it denies. */
  admit(pod: Pod): Promise<Admitted>
  /** Starts a pod on this node, or chooses one. */
  start(pod: NamedPod, how: { uid: string; node: string | undefined; onChange: () => void }): RunningPod
  /** Called when a pod is gone. */
  onGone(pod: RunningPod): void
}

export interface DeploymentStatus {
  readonly namespace: string
  readonly name: string
  readonly replicas: number
  readonly ready: number
  /** Why pods of it can't be made, or what the webhook warned of; empty when all is well. */
  readonly message: string
}

/** A pod that has been made: its name, and what the webhook warned of. */
export interface Created {
  readonly name: string
  readonly warnings: readonly string[]
}

interface Owned {
  deployment: Deployment
  hash: string
  pauses: BackOff
  message: string
  /** Pods of it are being made. */
  creating: number
  notBeforeMs: number
}

const createPauses = { firstMs: 500, maxMs: 30_000, resetMs: Infinity }
const startPauses = { firstMs: 500, maxMs: 30_000, resetMs: 600_000 }
const nameTries = 20

/** All pods, and the deployments that want some of them. */
export class Workloads {
  private readonly options: WorkloadsOptions
  private readonly pods = new Map<string, RunningPod>()
  /** Names that are being admitted. */
  private readonly reserved = new Set<string>()
  private readonly owners = new Map<string, string>()
  /** Pods as they were asked for, before the webhook. */
  private readonly originals = new Map<string, Pod>()
  private readonly deployments = new Map<string, Owned>()
  /** Pauses before a pod whose start failed is started again. */
  private readonly retries = new Map<string, { readonly pauses: BackOff; waiting: boolean }>()
  private scheduled = false

  constructor(options: WorkloadsOptions) {
    this.options = options
  }

  list(): readonly PodStatus[] {
    return [...this.pods].toSorted(byKey).map(([, { status }]) => status)
  }

  deploymentList(): readonly DeploymentStatus[] {
    return [...this.deployments].map(([key, { deployment, message }]) => ({
      namespace: namespaceOf(deployment),
      name: deployment.metadata.name,
      replicas: deployment.spec.replicas ?? 1,
      ready: this.owned(key).filter(({ status }) => status.ready).length,
      message,
    }))
  }

  get(namespace: string, name: string): RunningPod | undefined {
    return this.pods.get(`${namespace}/${name}`)
  }

  /** A pod as it was asked for, before the webhook changed it. */
  asked(namespace: string, name: string): Pod | undefined {
    return this.originals.get(`${namespace}/${name}`)
  }

  /** All pods, each with the key of its deployment. */
  named(): readonly { readonly pod: PodStatus; readonly deployment: string | undefined }[] {
    return [...this.pods].map(([key, { status }]) => ({ pod: status, deployment: this.owners.get(key) }))
  }

  running(): readonly RunningPod[] {
    return [...this.pods].toSorted(byKey).map(([, pod]) => pod)
  }

  /** Admits and starts a pod. ALREADY_EXISTS when one of this name is there. */
  async create(pod: Pod, owner?: string): Promise<Created> {
    const namespace = namespaceOf(pod)
    const name = pod.metadata.name ?? this.generated(namespace, pod.metadata.generateName ?? '')
    const key = `${namespace}/${name}`
    if (this.pods.has(key) || this.reserved.has(key))
      throw new NsmError('ALREADY_EXISTS', `pod ${key} exists; delete it before it can be made anew`)
    this.reserved.add(key)
    try {
      const { pod: admitted, warnings } = await this.options.admit({
        ...pod,
        metadata: { ...pod.metadata, namespace },
      })
      this.options.signal.throwIfAborted()
      this.originals.set(key, pod)
      this.launch(
        { ...admitted, metadata: { ...admitted.metadata, name, namespace } },
        { uid: randomUUID(), node: undefined },
        owner,
      )
      return { name, warnings }
    } finally {
      this.reserved.delete(key)
    }
  }

  /** Answers when nothing of it is left; false when there is none. */
  async remove(namespace: string, name: string): Promise<boolean> {
    const key = `${namespace}/${name}`
    const pod = this.pods.get(key)
    if (pod === undefined) return false
    await pod.stop()
    if (this.pods.get(key) === pod) {
      this.pods.delete(key)
      this.owners.delete(key)
      this.originals.delete(key)
      this.retries.delete(key)
      this.options.onGone(pod)
      this.reconcileSoon()
    }
    return true
  }

  /** Ends a pod whose sandbox or node is lost, and starts it again under its name. */
  async restart(pod: RunningPod): Promise<void> {
    const { namespace, name, uid, node } = pod.status
    const key = `${namespace}/${name}`
    const owner = this.owners.get(key)
    await pod.stop()
    if (this.pods.get(key) !== pod || this.options.signal.aborted) return
    this.options.onGone(pod)
    this.launch(pod.object, { uid, node }, owner)
  }

  setDeployment(deployment: Deployment): void {
    const key = `${namespaceOf(deployment)}/${deployment.metadata.name}`
    const fresh = {
      deployment,
      hash: templateHash(deployment),
      pauses: backOff(createPauses),
      message: '',
      notBeforeMs: 0,
    }
    const known = this.deployments.get(key)
    // The same record: pods of it may be on their way.
    if (known === undefined) this.deployments.set(key, { ...fresh, creating: 0 })
    else Object.assign(known, fresh)
    this.reconcileSoon()
  }

  /** Removes its pods too; false when there is none. */
  async removeDeployment(namespace: string, name: string): Promise<boolean> {
    const key = `${namespace}/${name}`
    if (!this.deployments.delete(key)) return false
    await Promise.all(this.owned(key).map(({ status }) => this.remove(status.namespace, status.name)))
    return true
  }

  async removeNamespace(namespace: string): Promise<void> {
    const inside = (key: string): boolean => key.startsWith(`${namespace}/`)
    for (const key of this.deployments.keys()) if (inside(key)) this.deployments.delete(key)
    const left = this.list().filter((pod) => pod.namespace === namespace)
    await Promise.all(left.map((pod) => this.remove(pod.namespace, pod.name)))
  }

  async close(): Promise<void> {
    this.deployments.clear()
    await Promise.all(this.list().map(({ namespace, name }) => this.remove(namespace, name)))
  }

  private owned(deployment: string): readonly RunningPod[] {
    return [...this.pods].flatMap(([key, pod]) => (this.owners.get(key) === deployment ? [pod] : []))
  }

  private launch(
    pod: NamedPod,
    how: { uid: string; node: string | undefined },
    owner: string | undefined,
  ): void {
    const key = `${namespaceOf(pod)}/${pod.metadata.name}`
    const onChange = (): void => {
      this.reconcileSoon()
      const changed = this.pods.get(key)
      if (changed?.startFailed === true) this.startAgain(key, changed)
    }
    const started = this.options.start(pod, { ...how, onChange })
    this.pods.set(key, started)
    if (owner !== undefined) this.owners.set(key, owner)
  }

  /** As kubelet does whatever the restart policy, which is about containers. */
  private startAgain(key: string, pod: RunningPod): void {
    const { clock, signal, log } = this.options
    const retry = this.retries.get(key) ?? { pauses: backOff(startPauses), waiting: false }
    if (retry.waiting) return
    retry.waiting = true
    this.retries.set(key, retry)
    clock.after(retry.pauses.next(clock.now() - pod.status.startedAtMs), () => {
      retry.waiting = false
      if (this.pods.get(key) !== pod || signal.aborted) return
      this.restart(pod).catch((err: unknown) => {
        log.warn({ pod: key, err: String(err) }, 'pod not started again')
        this.startAgain(key, pod)
      })
    })
  }

  private generated(namespace: string, prefix: string): string {
    for (let i = 0; i < nameTries; i++) {
      const name = `${prefix}${randomSuffix()}`
      if (!this.pods.has(`${namespace}/${name}`)) return name
    }
    throw new NsmError('RESOURCE_EXHAUSTED', `no free name that begins with ${prefix}`)
  }

  private reconcileSoon(): void {
    if (this.scheduled) return
    this.scheduled = true
    setImmediate(() => {
      this.scheduled = false
      if (!this.options.signal.aborted)
        for (const [key, owned] of this.deployments) this.reconcile(key, owned)
    })
  }

  private reconcile(key: string, owned: Owned): void {
    if (owned.creating > 0 || this.options.clock.now() < owned.notBeforeMs) return
    const pods = [...this.pods].flatMap(([podKey, pod]) => {
      if (this.owners.get(podKey) !== key) return []
      const { ready, phase } = pod.status
      const hash = pod.object.metadata.labels?.[hashLabel] ?? ''
      return [{ key: podKey, hash, ready, leaving: phase === 'Terminating' }]
    })
    const { create, remove } = plan(owned.deployment.spec.replicas ?? 1, owned.hash, pods)
    for (const podKey of remove) {
      const [namespace = '', name = ''] = podKey.split('/')
      this.remove(namespace, name).catch((err: unknown) =>
        this.options.log.error({ err: String(err) }, 'pod not removed'),
      )
    }
    for (let i = 0; i < create; i++) void this.createOwned(key, owned)
  }

  private async createOwned(key: string, owned: Owned): Promise<void> {
    const { clock, signal, log } = this.options
    owned.creating += 1
    try {
      const { name, warnings } = await this.create(podOf(owned.deployment, owned.hash), key)
      owned.message = warnings.join('; ')
      // It was deleted, or given another template, meanwhile.
      if (!this.deployments.has(key)) await this.remove(namespaceOf(owned.deployment), name)
    } catch (err) {
      owned.message = NsmError.from(err).message
      const pauseMs = owned.pauses.next(0)
      owned.notBeforeMs = clock.now() + pauseMs
      if (!signal.aborted) log.warn({ deployment: key, err: owned.message }, 'pod not created')
      clock.after(pauseMs, () => this.reconcileSoon())
    } finally {
      owned.creating -= 1
      this.reconcileSoon()
    }
  }
}

function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1
}

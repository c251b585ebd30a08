import type { PodConnections } from './connections.ts'
import type { ContainerStatus } from './container.ts'
import type { ManifestFile, Outcome } from './apply.ts'
import type { PodStatus } from './pod-status.ts'
import type { Manner } from './runner.ts'
import type { DeploymentStatus } from './workloads.ts'

/** One process of the mesh itself. */
export interface PartStatus extends Pick<
  ContainerStatus,
  'state' | 'ready' | 'restarts' | 'reason' | 'message'
> {
  readonly name: string
  /** Empty for the control plane. */
  readonly node: string
}

export interface MeshStatus {
  readonly name: string
  readonly trustDomain: string
  readonly pid: number
  readonly parts: readonly PartStatus[]
}

/** Where a command can be run beside a container's own. */
export interface ExecTarget {
  readonly pid: number
  readonly runner: string
  readonly manner: Manner
}

/** Which object to delete. */
export interface ObjectName {
  readonly kind: 'Pod' | 'Deployment' | 'NetworkService' | 'Namespace'
  readonly namespace: string
  readonly name: string
}

/** What other `nsm` commands ask of the daemon: input and output by name. JSON over HTTP on a unix socket that only root may open. */
export interface ControlApi {
  mesh: { input: undefined; output: MeshStatus }
  pods: { input: undefined; output: readonly PodStatus[] }
  deployments: { input: undefined; output: readonly DeploymentStatus[] }
  namespaces: { input: undefined; output: readonly string[] }
  networkservices: {
    input: undefined
    output: readonly { namespace: string; name: string; payload: string }[]
  }
  connections: { input: { namespace?: string; pod?: string }; output: readonly PodConnections[] }
  apply: { input: { files: readonly ManifestFile[] }; output: readonly Outcome[] }
  delete: { input: { files: readonly ManifestFile[] }; output: readonly Outcome[] }
  deleteOne: { input: ObjectName; output: Outcome }
  exec: { input: { namespace: string; pod: string; container?: string }; output: ExecTarget }
  /** Routes before any container ran, and now. */
  routes: {
    input: { namespace: string; pod: string }
    output: { readonly before: readonly string[]; readonly now: readonly string[] }
  }
  down: { input: undefined; output: undefined }
}

export type Method = keyof ControlApi

export type Handlers = {
  readonly [M in Method]: (input: ControlApi[M]['input']) => Promise<ControlApi[M]['output']>
}

/** The parts of Kubernetes objects that the local mesh acts on, as they are once checked. Other fields are kept beside them. */

export interface Metadata {
  readonly name?: string
  readonly generateName?: string
  readonly namespace?: string
  readonly uid?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

export interface NamedMetadata extends Metadata {
  readonly name: string
}

export interface EnvVar {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } }
}

export interface VolumeMount {
  readonly name: string
  readonly mountPath: string
  readonly readOnly?: boolean
}

export interface Probe {
  readonly httpGet?: { readonly path?: string; readonly port: number | string; readonly host?: string }
  readonly exec?: { readonly command: readonly string[] }
  readonly initialDelaySeconds?: number
  readonly periodSeconds?: number
  readonly timeoutSeconds?: number
  readonly successThreshold?: number
  readonly failureThreshold?: number
}

export interface SecurityContext {
  readonly runAsUser?: number
  readonly runAsGroup?: number
  readonly runAsNonRoot?: boolean
  readonly allowPrivilegeEscalation?: boolean
  readonly readOnlyRootFilesystem?: boolean
}

/** A kernel setting of the pod's namespaces. */
export interface Sysctl {
  readonly name: string
  readonly value: string
}

export interface Container {
  readonly name: string
  readonly image?: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly workingDir?: string
  readonly env?: readonly EnvVar[]
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[]
  readonly volumeMounts?: readonly VolumeMount[]
  readonly restartPolicy?: 'Always'
  readonly startupProbe?: Probe
  readonly readinessProbe?: Probe
  readonly livenessProbe?: Probe
  readonly securityContext?: SecurityContext
  readonly stdin?: boolean
}

export interface Volume {
  readonly name: string
  readonly emptyDir?: object
  readonly hostPath?: { readonly path: string }
  readonly csi?: { readonly driver: string; readonly readOnly?: boolean }
}

export interface PodSpec {
  readonly containers: readonly Container[]
  readonly initContainers?: readonly Container[]
  readonly volumes?: readonly Volume[]
  readonly restartPolicy?: 'Always' | 'OnFailure' | 'Never'
  readonly terminationGracePeriodSeconds?: number
  readonly hostname?: string
  readonly hostAliases?: readonly { readonly ip: string; readonly hostnames: readonly string[] }[]
  readonly dnsPolicy?: string
  readonly dnsConfig?: {
    readonly nameservers?: readonly string[]
    readonly searches?: readonly string[]
    readonly options?: readonly { readonly name: string; readonly value?: string }[]
  }
  readonly nodeName?: string
  readonly nodeSelector?: Readonly<Record<string, string>>
  readonly serviceAccountName?: string
  readonly securityContext?: SecurityContext & { readonly sysctls?: readonly Sysctl[] }
}

export interface Pod {
  readonly apiVersion: 'v1'
  readonly kind: 'Pod'
  readonly metadata: Metadata
  readonly spec: PodSpec
}

export interface Deployment {
  readonly apiVersion: 'apps/v1'
  readonly kind: 'Deployment'
  readonly metadata: NamedMetadata
  readonly spec: {
    readonly replicas?: number
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> }
    readonly template: { readonly metadata?: Metadata; readonly spec: PodSpec }
  }
}

export interface Namespace {
  readonly apiVersion: 'v1'
  readonly kind: 'Namespace'
  readonly metadata: NamedMetadata
}

/** Field names as in the custom resource (wire contract §11.1). */
export interface NetworkServiceObject {
  readonly apiVersion: 'networkservicemesh.io/v1'
  readonly kind: 'NetworkService'
  readonly metadata: NamedMetadata
  readonly spec?: {
    readonly name?: string
    readonly payload?: string
    readonly matches?: readonly {
      readonly source_selector?: Readonly<Record<string, string>>
      readonly routes?: readonly {
        readonly destination_selector?: Readonly<Record<string, string>>
        readonly weight?: number
      }[]
      readonly fallthrough?: boolean
      readonly metadata?: { readonly labels?: Readonly<Record<string, string>> }
    }[]
  }
}

export type MeshObject = Pod | Deployment | Namespace | NetworkServiceObject

/** `pod demo/client`; namespaces stand alone. */
export function nameOf(object: MeshObject): string {
  const { name = `${object.metadata.generateName ?? ''}…` } = object.metadata
  const kind = object.kind.toLowerCase()
  return object.kind === 'Namespace' ? `${kind} ${name}` : `${kind} ${namespaceOf(object)}/${name}`
}

export function namespaceOf(object: { readonly metadata: Metadata }): string {
  return object.metadata.namespace ?? 'default'
}

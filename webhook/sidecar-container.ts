import type { RequiredServices } from '@nsm/api/required-services.js'
import type { JsonObject } from './json.ts'

/** Amounts for one container, as Kubernetes quantities. */
export interface Resources {
  readonly requestsCpu: string
  readonly requestsMemory: string
  readonly limitsCpu: string
  readonly limitsMemory: string
}

/** Everything that differs between two injected containers. */
export interface ContainerInput {
  readonly name: string
  readonly image: string
  /** Runs beside the pod's containers, from before its first init container to after its last container. */
  readonly isSidecar: boolean
  /** Name → value, from the operator; they win over ours. */
  readonly envs: Readonly<Record<string, string>>
  readonly nsurlEnvName: string
  readonly networkServices: string
  /** NSM_NAME; may refer to `$(POD_NAME)`. */
  readonly connectionName: string
  readonly statusPort: number
  readonly resources: Resources
  /** Which connections the pod's other containers wait for. */
  readonly required: RequiredServices
  /** Whether the pod is ready only while all its connections are up. */
  readonly readinessProbe: boolean
  /** More of the environment; NSM_ENVS win. */
  readonly dnsEnv: Readonly<Record<string, string>>
  /** Beside those that every injected container has. */
  readonly mounts: readonly JsonObject[]
  /** Writes the pod's resolv.conf, which is root's: it runs as root then, with `capabilities` at most. */
  readonly writesResolvConf: boolean
  readonly capabilities: readonly string[]
}

/** Names of the volumes that injected containers mount. */
export const spireVolume = 'spire-agent-socket'
export const nsmVolume = 'nsm-socket'
export const spireFolder = '/run/spire/sockets'
export const nsmFolder = '/var/lib/networkservicemesh'

/** What Pod Security level restricted demands, and more. */
export const restrictedSecurity: JsonObject = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  readOnlyRootFilesystem: true,
  runAsNonRoot: true,
  runAsUser: 65_532,
  seccompProfile: { type: 'RuntimeDefault' },
}

/**
 * A container that meets Pod Security level restricted (wire contract §11.2); one that writes resolv.conf meets baseline,
 * as root without any capability but that to listen on port 53.
 */
export function injectedContainer(input: ContainerInput): JsonObject {
  const { name, image, isSidecar, resources } = input
  return {
    name,
    image,
    ...(isSidecar ? { restartPolicy: 'Always' } : {}),
    env: environment(input),
    resources: resourcesOf(resources),
    volumeMounts: [
      { name: spireVolume, mountPath: spireFolder, readOnly: true },
      { name: nsmVolume, mountPath: nsmFolder, readOnly: true },
      ...input.mounts,
    ],
    ...(isSidecar ? probes(input) : {}),
    securityContext: securityOf(input),
  }
}

function securityOf({ writesResolvConf, capabilities }: ContainerInput): JsonObject {
  if (!writesResolvConf) return restrictedSecurity
  const add = capabilities.length === 0 ? {} : { add: capabilities }
  return {
    ...restrictedSecurity,
    capabilities: { drop: ['ALL'], ...add },
    readOnlyRootFilesystem: false,
    runAsNonRoot: false,
    runAsUser: 0,
  }
}

/** As a container has them. */
export function resourcesOf({ requestsCpu, requestsMemory, limitsCpu, limitsMemory }: Resources): JsonObject {
  return {
    requests: { cpu: requestsCpu, memory: requestsMemory },
    limits: { cpu: limitsCpu, memory: limitsMemory },
  }
}

/**
 * The first holds the next container back until all connections are up that are required, for two minutes. Liveness is the event loop's alone:
 * what happens to connections never restarts the sidecar.
 */
function probes({ statusPort: port, required, readinessProbe }: ContainerInput): JsonObject {
  const connected = { httpGet: { path: '/readyz', port } }
  const started = { httpGet: { path: '/startupz', port } }
  const alive = { httpGet: { path: '/livez', port } }
  return {
    startupProbe: {
      ...(isEach(required) ? connected : started),
      periodSeconds: 1,
      timeoutSeconds: 1,
      failureThreshold: 120,
    },
    livenessProbe: {
      ...alive,
      periodSeconds: 10,
      timeoutSeconds: 5,
      failureThreshold: 6,
    },
    ...(readinessProbe
      ? { readinessProbe: { ...connected, periodSeconds: 2, timeoutSeconds: 1, failureThreshold: 3 } }
      : {}),
  }
}

function isEach(required: RequiredServices): boolean {
  return required === 'true'
}

function environment(input: ContainerInput): readonly JsonObject[] {
  const ours: readonly JsonObject[] = [
    { name: 'SPIFFE_ENDPOINT_SOCKET', value: `unix://${spireFolder}/agent.sock` },
    fromField('POD_NAME', 'metadata.name'),
    fromField('POD_NAMESPACE', 'metadata.namespace'),
    fromField('POD_UID', 'metadata.uid'),
    fromField('POD_IP', 'status.podIP'),
    fromField('NODE_NAME', 'spec.nodeName'),
    { name: input.nsurlEnvName, value: literal(input.networkServices) },
    { name: 'NSM_NAME', value: input.connectionName },
    { name: 'NSM_OPS_LISTEN_ON', value: `:${input.statusPort}` },
    ...(isEach(input.required) ? [] : [{ name: 'NSM_REQUIRED', value: literal(input.required) }]),
    ...Object.entries(input.dnsEnv).map(([name, value]) => ({ name, value })),
  ]
  const operators = Object.entries(input.envs).map(([name, value]): JsonObject => ({ name, value }))
  return [...operators, ...ours.filter(({ name }) => !Object.hasOwn(input.envs, String(name)))]
}

/** Kubernetes expands `$(NAME)` in values; `$$` stands for the sign itself. */
function literal(text: string): string {
  return text.replaceAll('$', '$$$$')
}

function fromField(name: string, fieldPath: string): JsonObject {
  return { name, valueFrom: { fieldRef: { fieldPath } } }
}

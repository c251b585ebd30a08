import type { NsUrl } from '@nsm/api/nsurl.js'
import { objectOf, objectsOf, textOf, textsOf, type JsonObject } from './json.ts'
import { append, assign, prepend, type PatchOperation } from './json-patch.ts'
import { InjectionError } from './injection-error.ts'
import { corefileMount, dnsContainer, dnsContainerName } from './dns-container.ts'
import { dnsPlan, type DnsPlan, type DnsSettings } from './dns-plan.ts'
import { containerName } from './kubernetes-values.ts'
import { overridesOf, withOverrides, type Overrides } from './overrides.ts'
import { injectedContainer, type ContainerInput, type Resources } from './sidecar-container.ts'
import { allContainers } from './verdict.ts'
import { missingVolumes, type SocketsWay } from './volumes.ts'

/** What the operator configured. */
export interface InjectionSettings {
  readonly annotation: string
  readonly containerImages: readonly string[]
  readonly initContainerImages: readonly string[]
  readonly envs: Readonly<Record<string, string>>
  readonly nsurlEnvName: string
  readonly labels: Readonly<Record<string, string>>
  readonly resources: Resources
  readonly sockets: SocketsWay
  /** Whether the cluster runs init containers beside the pod's own (Kubernetes 1.29); else they are ordinary containers. */
  readonly nativeSidecars: boolean
  /** Whether pods become ready only with their connections: by a condition that somebody sets, by a probe of the sidecar. */
  readonly readinessGate: boolean
  readonly readinessProbe: boolean
  readonly dns: DnsSettings & { readonly image: string; readonly resources: Resources }
}

/** One pod to inject into. */
export interface InjectionInput {
  readonly pod: JsonObject
  readonly networkServices: string
  /** What `networkServices` says. */
  readonly urls: readonly NsUrl[]
  readonly namespace: string
  /** Pod Security level that its namespace enforces; undefined = privileged. */
  readonly podSecurity: string | undefined
  /** Makes the names of pods without generator unique. */
  readonly uid: string
}

/** The least patch that injects, and what to tell whoever made the pod. Empty when all of it is there already. */
export interface Injection {
  readonly patch: readonly PatchOperation[]
  readonly warnings: readonly string[]
}

const firstStatusPort = 9080
/** Set by the node's agent while all connections of the pod are up. */
const connectedCondition = 'networkservicemesh.io/connected'

/** Injects; applying the result and injecting again changes nothing. @throws InjectionError */
export function inject(settings: InjectionSettings, input: InjectionInput): Injection {
  const metadata = objectOf(input.pod['metadata'])
  const spec = objectOf(input.pod['spec'])
  if (metadata === undefined || spec === undefined) {
    throw new InjectionError('malformed_pod', 'the pod has no metadata or no spec')
  }
  const { overrides, warnings } = overridesOf(textsOf(metadata['annotations']), {
    servicesKey: settings.annotation,
    urls: input.urls,
  })
  const dns = dnsPlan(settings.dns, { ...input, spec })
  const [sidecar, ...rest] = wanted(settings, input, { overrides, dns })
  const isMissing = (container: JsonObject): boolean => !isPresent(container, spec, settings)
  const others = rest.filter(isMissing)
  // CoreDNS comes behind the sidecar, which writes its configuration, or not at all.
  const missing =
    sidecar !== undefined && isMissing(sidecar)
      ? [sidecar, ...others]
      : others.filter(({ name }) => name !== dnsContainerName)
  if (missing.length === 0)
    return { patch: assign(metadata, ['metadata', 'labels'], settings.labels), warnings }
  const { podSecurity } = input
  const volumes = missingVolumes(spec, {
    sockets: settings.sockets,
    podSecurity,
    withCorefile: dns.mode === 'coredns',
  })
  return {
    patch: [
      ...placed(spec, missing, settings.nativeSidecars),
      ...append(spec, ['spec', 'volumes'], volumes),
      ...gated(spec, settings.readinessGate),
      ...dns.patch,
      ...assign(metadata, ['metadata', 'labels'], settings.labels),
    ],
    warnings: [...warnings, ...dns.warnings, ...outliving(spec, settings.nativeSidecars)],
  }
}

/** In front of the pod's init containers; where sidecars can't stand there, they come behind its containers. */
function placed(
  spec: JsonObject,
  containers: readonly JsonObject[],
  nativeSidecars: boolean,
): readonly PatchOperation[] {
  if (nativeSidecars) return prepend(spec, ['spec', 'initContainers'], containers)
  const isBeside = ({ restartPolicy }: JsonObject): boolean => restartPolicy === 'Always'
  const beside = containers.filter(isBeside).map((container) => ({ ...container, restartPolicy: undefined }))
  return [
    ...prepend(
      spec,
      ['spec', 'initContainers'],
      containers.filter((container) => !isBeside(container)),
    ),
    ...append(spec, ['spec', 'containers'], beside),
  ]
}

function gated(spec: JsonObject, isWanted: boolean): readonly PatchOperation[] {
  const isThere = objectsOf(spec['readinessGates']).some(
    ({ conditionType }) => conditionType === connectedCondition,
  )
  if (!isWanted || isThere) return []
  return append(spec, ['spec', 'readinessGates'], [{ conditionType: connectedCondition }])
}

function outliving(spec: JsonObject, nativeSidecars: boolean): readonly string[] {
  if (nativeSidecars || (spec['restartPolicy'] ?? 'Always') === 'Always') return []
  return [
    'before Kubernetes 1.29 the injected container goes on when the pod’s own have ended: Jobs do not complete',
  ]
}

/** In the order in which they start: sidecars, then containers that must end before the pod's own init containers begin. */
function wanted(
  settings: InjectionSettings,
  input: InjectionInput,
  { overrides, dns }: { readonly overrides: Overrides; readonly dns: DnsPlan },
): readonly JsonObject[] {
  const sidecars = settings.containerImages.map((image, i) => ({
    name: containerName(image),
    image: i === 0 ? (overrides.image ?? image) : image,
    isSidecar: true,
  }))
  const others = settings.initContainerImages.map((image) => ({
    name: containerName(image),
    image,
    isSidecar: false,
  }))
  const common = {
    envs: settings.envs,
    nsurlEnvName: settings.nsurlEnvName,
    networkServices: input.networkServices,
    connectionName: connectionName(input),
    resources: withOverrides(settings.resources, overrides.resources),
    readinessProbe: settings.readinessProbe,
    required: overrides.required,
  }
  const all = [...sidecars, ...others]
  const ports = freePorts(
    objectOf(input.pod['spec']) ?? {},
    all.map(({ name }) => name),
  )
  const containers = all.map((container, i) =>
    injectedContainer({
      ...common,
      ...container,
      ...namesOf(i === 0 ? dns : undefined),
      statusPort: ports[i] ?? firstStatusPort,
    }),
  )
  const [sidecar, ...rest] = containers
  if (dns.mode !== 'coredns' || sidecar === undefined) return containers
  return [sidecar, dnsContainer(settings.dns.image, settings.dns.resources), ...rest]
}

/** One container looks after the pod's names; the others leave them alone. */
function namesOf(
  dns: DnsPlan | undefined,
): Pick<ContainerInput, 'dnsEnv' | 'mounts' | 'writesResolvConf' | 'capabilities'> {
  if (dns === undefined || dns.mode === 'off') {
    const dnsEnv = { NSM_LOCAL_DNS_SERVER_ENABLED: 'false' }
    return { dnsEnv, mounts: [], writesResolvConf: false, capabilities: [] }
  }
  return {
    dnsEnv: dns.env,
    mounts: dns.mode === 'coredns' ? [corefileMount] : [],
    writesResolvConf: dns.way === 'file',
    capabilities: dns.mode === 'embedded' ? ['NET_BIND_SERVICE'] : [],
  }
}

/** A generator gives every pod a name of its own; names that people give come again (wire contract §11.2). */
function connectionName({ pod, uid }: InjectionInput): string {
  const metadata = objectOf(pod['metadata']) ?? {}
  const isGenerated =
    (textOf(metadata['generateName']) ?? '') !== '' || objectsOf(metadata['ownerReferences']).length > 0
  return isGenerated ? '$(POD_NAME)' : `$(POD_NAME)-${uid}`
}

/** A status port for each of our containers: from the first on, without those that containers of the pod declare for themselves. */
function freePorts(spec: JsonObject, ours: readonly string[]): readonly number[] {
  const taken = new Set(
    allContainers(spec)
      .filter(({ name }) => !ours.includes(String(name)))
      .flatMap((container) => objectsOf(container['ports']))
      .map((port) => port['containerPort']),
  )
  const free: number[] = []
  for (let port = firstStatusPort; free.length < ours.length; port++) {
    if (!taken.has(port)) free.push(port)
  }
  return free
}

function isPresent(
  container: JsonObject,
  spec: JsonObject,
  { nsurlEnvName, dns }: Pick<InjectionSettings, 'nsurlEnvName' | 'dns'>,
): boolean {
  const present = allContainers(spec).find(({ name }) => name === container['name'])
  if (present === undefined) return false
  const isOurs =
    !objectsOf(spec['ephemeralContainers']).includes(present) &&
    (container['name'] === dnsContainerName
      ? present['image'] === dns.image
      : objectsOf(present['env']).some(({ name }) => name === nsurlEnvName))
  if (isOurs) return true
  throw new InjectionError(
    'name_taken',
    `container name ${JSON.stringify(container['name'])} is needed for the injected container; rename the pod’s own`,
  )
}

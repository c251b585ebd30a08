import { isIP } from 'node:net'
import { knownImages, programOf } from './images.ts'
import type { Container, PodSpec } from './objects.ts'
import {
  both,
  fault,
  harmless,
  integer,
  listOf,
  mapOf,
  object,
  oneOf,
  text,
  truth,
  unsupported,
  type Fault,
  type Fields,
  type Rule,
} from './shape.ts'
import { probe } from './probe-rules.ts'
import { volume } from './volume-rules.ts'

export const dnsLabel: Rule = text(
  /^(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?$/,
  'a DNS label such as client-1',
)
export const dnsName: Rule = text(
  /^(?=.{1,253}$)[a-z0-9]([-.a-z0-9]*[a-z0-9])?$/,
  'a lower-case DNS name such as client-1',
)
const absolutePath = text(/^\/(?!(.*\/)?\.\.(\/|$))[^:]*$/, 'an absolute path without `..` and `:`')
const id = integer(0, 2 ** 31 - 1)
const address: Rule = (value, path) =>
  typeof value === 'string' && isIP(value) !== 0 ? [] : fault(path, `must be an IP address`)

/** Fields of `metadata.…` and `status.…` that the downward API of the local mesh answers. */
const fieldPath = text(
  /^(metadata\.(name|namespace|uid)|metadata\.(labels|annotations)\['[^']+'\]|spec\.(nodeName|serviceAccountName)|status\.(podIP|podIPs|hostIP|hostIPs))$/,
  'metadata.name, .namespace, .uid, .labels[…] or .annotations[…], spec.nodeName, spec.serviceAccountName, status.podIP or status.hostIP',
)

const environment = object(
  {
    name: text(/^[^=]+$/, 'a name without `=`'),
    value: text(),
    valueFrom: object(
      {
        fieldRef: object({ fieldPath, apiVersion: oneOf('v1') }, ['fieldPath']),
        resourceFieldRef: unsupported(),
        configMapKeyRef: unsupported('give the value itself'),
        secretKeyRef: unsupported('give the value itself'),
        fileKeyRef: unsupported('give the value itself'),
      },
      ['fieldRef'],
    ),
  },
  ['name'],
)

const harmlessSecurity: Fields = {
  seccompProfile: harmless,
  seLinuxOptions: harmless,
  appArmorProfile: harmless,
  runAsUser: id,
  runAsGroup: id,
  runAsNonRoot: truth,
}

const containerSecurity = object({
  ...harmlessSecurity,
  allowPrivilegeEscalation: truth,
  readOnlyRootFilesystem: truth,
  // A root user's processes have all that this machine's root has; others have none.
  capabilities: object({ add: listOf(text()), drop: listOf(text()) }),
  privileged: oneOf(false),
  procMount: oneOf('Default'),
})

const podSecurity = object({
  ...harmlessSecurity,
  fsGroup: harmless,
  fsGroupChangePolicy: harmless,
  supplementalGroups: listOf(id),
  // Those of the network namespace that kubelet calls safe.
  sysctls: listOf(
    object(
      {
        name: oneOf(
          'net.ipv4.ip_unprivileged_port_start',
          'net.ipv4.ping_group_range',
          'net.ipv4.ip_local_port_range',
          'net.ipv4.tcp_syncookies',
        ),
        value: text(/^[0-9 \t]{1,32}$/, 'numbers'),
      },
      ['name', 'value'],
    ),
  ),
})

const containerFields: Fields = {
  name: dnsLabel,
  image: text(),
  imagePullPolicy: harmless,
  command: listOf(text()),
  args: listOf(text()),
  workingDir: absolutePath,
  env: listOf(environment),
  envFrom: unsupported('list the variables under env'),
  ports: listOf(
    object(
      {
        name: text(),
        containerPort: integer(1, 65_535),
        protocol: oneOf('TCP', 'UDP', 'SCTP'),
        hostPort: unsupported(),
        hostIP: unsupported(),
      },
      ['containerPort'],
    ),
  ),
  resources: harmless,
  resizePolicy: harmless,
  volumeMounts: listOf(
    object(
      {
        name: text(),
        mountPath: absolutePath,
        readOnly: truth,
        recursiveReadOnly: oneOf('Disabled'),
        mountPropagation: oneOf('None', 'HostToContainer'),
        subPath: unsupported(),
        subPathExpr: unsupported(),
      },
      ['name', 'mountPath'],
    ),
  ),
  volumeDevices: unsupported(),
  startupProbe: probe,
  readinessProbe: probe,
  livenessProbe: probe,
  lifecycle: unsupported('put the work into the command'),
  terminationMessagePath: harmless,
  terminationMessagePolicy: harmless,
  securityContext: containerSecurity,
  stdin: truth,
  stdinOnce: oneOf(false),
  tty: harmless,
}

const runnable: Rule = (value, path) => {
  const { command = [], image } = value as Container
  if (command.length > 0 || (image !== undefined && programOf(image) !== undefined)) return []
  const ours = knownImages.join(', ')
  return fault(
    `${path}.command`,
    `is required, since the local mesh runs no images: give a command that this machine has, or one of our images (${ours})`,
  )
}

const container = both(object(containerFields, ['name']), runnable)
const initContainer = both(object({ ...containerFields, restartPolicy: oneOf('Always') }, ['name']), runnable)

const fields: Fields = {
  containers: listOf(container, 1),
  initContainers: listOf(initContainer),
  volumes: listOf(volume),
  restartPolicy: oneOf('Always', 'OnFailure', 'Never'),
  terminationGracePeriodSeconds: integer(0, 3_600),
  hostname: dnsLabel,
  hostAliases: listOf(object({ ip: address, hostnames: listOf(dnsName) }, ['ip', 'hostnames'])),
  dnsPolicy: oneOf('ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'),
  dnsConfig: object({
    nameservers: listOf(address),
    searches: listOf(text(/^\S+$/, 'a domain')),
    options: listOf(object({ name: text(/^\S+$/, 'an option'), value: text(/^\S+$/, 'a value') }, ['name'])),
  }),
  nodeName: dnsName,
  nodeSelector: object({ 'kubernetes.io/hostname': dnsName, 'kubernetes.io/os': oneOf('linux') }),
  securityContext: podSecurity,
  serviceAccountName: text(),
  serviceAccount: harmless,
  automountServiceAccountToken: harmless,
  enableServiceLinks: harmless,
  imagePullSecrets: harmless,
  priority: harmless,
  priorityClassName: harmless,
  preemptionPolicy: harmless,
  schedulerName: oneOf('default-scheduler'),
  shareProcessNamespace: harmless,
  tolerations: harmless,
  os: object({ name: oneOf('linux') }),
  hostNetwork: oneOf(false),
  hostPID: oneOf(false),
  hostIPC: oneOf(false),
  hostUsers: oneOf(true),
  setHostnameAsFQDN: oneOf(false),
  subdomain: unsupported(),
  activeDeadlineSeconds: unsupported(),
  affinity: unsupported('use nodeName, or nodeSelector with kubernetes.io/hostname'),
  topologySpreadConstraints: unsupported('use nodeName'),
  readinessGates: unsupported(),
  schedulingGates: unsupported(),
  runtimeClassName: unsupported(),
  overhead: unsupported(),
  ephemeralContainers: unsupported(),
  resourceClaims: unsupported(),
  resources: harmless,
}

/** References inside one pod: container names are unique, mounts name a volume. */
const consistent: Rule = (value, path) => {
  const spec = value as PodSpec
  const volumes = new Set((spec.volumes ?? []).map(({ name }) => name))
  const all = [
    ...(spec.initContainers ?? []).map((item, i) => ({ item, at: `${path}.initContainers[${i}]` })),
    ...spec.containers.map((item, i) => ({ item, at: `${path}.containers[${i}]` })),
  ]
  const repeated = all
    .filter(({ item }, i) => all.findIndex((other) => other.item.name === item.name) < i)
    .flatMap(({ item, at }) => fault(`${at}.name`, `"${item.name}" is used twice in this pod`))
  return [...repeated, ...all.flatMap(({ item, at }) => unknownMounts(item, volumes, at))]
}

function unknownMounts(
  { volumeMounts = [] }: Container,
  volumes: ReadonlySet<string>,
  at: string,
): readonly Fault[] {
  return volumeMounts.flatMap(({ name }, i) =>
    volumes.has(name) ? [] : fault(`${at}.volumeMounts[${i}].name`, `"${name}" is not one of spec.volumes`),
  )
}

/** A pod's spec: supported fields checked, harmless ones taken, all others refused. */
export const podSpec: Rule = both(object(fields, ['containers']), consistent)

/** Labels and annotations: strings to strings. */
export const stringMap: Rule = mapOf(text())

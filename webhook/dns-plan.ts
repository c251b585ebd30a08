import type { ClusterDns } from './cluster-dns.ts'
import { objectOf, objectsOf, textOf, type JsonObject } from './json.ts'
import { pointer, type PatchOperation } from './json-patch.ts'
import { allContainers } from './verdict.ts'

/** Who resolves the names that services bring. */
export type DnsMode = 'coredns' | 'embedded' | 'off'

/** How the pod is pointed to the local resolver: by writing its resolv.conf while there are names, or by its spec from the start. */
export type ResolvConfWay = 'file' | 'podspec'

/** What the operator configured. */
export interface DnsSettings {
  readonly mode: DnsMode
  /** `auto`: by the spec where Pod Security forbids what writing the file needs, by the file elsewhere. */
  readonly resolvConf: ResolvConfWay | 'auto'
  readonly cluster: ClusterDns
}

/** What becomes of one pod's names. */
export interface DnsPlan {
  readonly mode: DnsMode
  readonly way: ResolvConfWay
  /** Of the sidecar. */
  readonly env: Readonly<Record<string, string>>
  /** Changes of the pod's spec beside its containers and volumes. */
  readonly patch: readonly PatchOperation[]
  readonly warnings: readonly string[]
}

export interface DnsPlanInput {
  readonly spec: JsonObject
  readonly namespace: string
  readonly podSecurity: string | undefined
}

/** One of kubelet's safe sysctls since Kubernetes 1.22, which Pod Security level restricted allows. */
export const unprivilegedPorts = 'net.ipv4.ip_unprivileged_port_start'
const dnsPort = 53
const local = '127.0.0.1'
/** Limits of the API server. */
const maxNameservers = 3
const maxSearches = 32

/** Decides how the names of a pod are resolved; pods that cannot have it keep what they have, and a warning tells. */
export function dnsPlan(settings: DnsSettings, input: DnsPlanInput): DnsPlan {
  const { mode, cluster } = settings
  if (mode === 'off') return without([])
  if (declaresDns(input.spec))
    return without([
      `a container of the pod serves port ${dnsPort}: names of services will not resolve in it`,
    ])
  const isRestricted = input.podSecurity === 'restricted'
  const way = settings.resolvConf === 'auto' ? (isRestricted ? 'podspec' : 'file') : settings.resolvConf
  const sysctl = mode === 'coredns' || way === 'podspec' ? lowerPorts(input.spec) : []
  const modeEnv: Record<string, string> = mode === 'coredns' ? { NSM_DNS_MODE: mode } : {}
  if (way === 'file') return { mode, way, env: modeEnv, patch: sysctl, warnings: [] }
  const found = dnsOf(input, cluster)
  if (typeof found === 'string') return without([`${found}; names of services will not resolve`])
  return {
    mode,
    way,
    env: { ...modeEnv, NSM_DNS_CLUSTER_SERVERS: found.servers.join(',') },
    patch: [
      { op: 'add', path: pointer('spec', 'dnsPolicy'), value: 'None' },
      { op: 'add', path: pointer('spec', 'dnsConfig'), value: found.config },
      ...sysctl,
    ],
    warnings: [],
  }
}

function without(warnings: readonly string[]): DnsPlan {
  return { mode: 'off', way: 'file', env: { NSM_LOCAL_DNS_SERVER_ENABLED: 'false' }, patch: [], warnings }
}

function declaresDns(spec: JsonObject): boolean {
  return allContainers(spec)
    .flatMap((container) => objectsOf(container['ports']))
    .some(({ containerPort }) => containerPort === dnsPort)
}

/** What kubelet would have written, with the local resolver in the servers' place. A text says why it can't be told. */
function dnsOf(
  { spec, namespace }: DnsPlanInput,
  { servers, domain, nodeSearch }: ClusterDns,
): { readonly servers: readonly string[]; readonly config: JsonObject } | string {
  const policy = textOf(spec['dnsPolicy']) ?? 'ClusterFirst'
  const own = objectOf(spec['dnsConfig']) ?? {}
  const ownServers = textList(own['nameservers'])
  const ownSearches = textList(own['searches'])
  const ownOptions = objectsOf(own['options'])
  if (policy === 'Default') return 'dnsPolicy Default: the node’s resolvers are not known here'
  if (policy === 'None') {
    if (ownServers.length === 0) return 'dnsPolicy None without dnsConfig.nameservers'
    return { servers: ownServers, config: { ...own, nameservers: [local] } }
  }
  if (servers.length === 0) return 'the cluster’s resolvers are not known (NSM_DNS_CLUSTER_SERVERS)'
  const clusters = [`${namespace}.svc.${domain}`, `svc.${domain}`, domain]
  const searches = [...new Set([...clusters, ...nodeSearch, ...ownSearches])].slice(0, maxSearches)
  const ndots = ownOptions.some(({ name }) => name === 'ndots') ? [] : [{ name: 'ndots', value: '5' }]
  return {
    servers: [...new Set([...servers, ...ownServers])].slice(0, maxNameservers),
    config: { nameservers: [local], searches, options: [...ndots, ...ownOptions] },
  }
}

function textList(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : []
}

/** Lets users other than root listen on the DNS port; nothing when the pod allows it already. */
function lowerPorts(spec: JsonObject): readonly PatchOperation[] {
  const security = objectOf(spec['securityContext'])
  const value = { name: unprivilegedPorts, value: String(dnsPort) }
  if (security === undefined)
    return [{ op: 'add', path: pointer('spec', 'securityContext'), value: { sysctls: [value] } }]
  const at = pointer('spec', 'securityContext', 'sysctls')
  if (!Array.isArray(security['sysctls'])) return [{ op: 'add', path: at, value: [value] }]
  const index = objectsOf(security['sysctls']).findIndex(({ name }) => name === unprivilegedPorts)
  if (index < 0) return [{ op: 'add', path: `${at}/-`, value }]
  const present = Number(objectsOf(security['sysctls'])[index]?.['value'])
  return present <= dnsPort ? [] : [{ op: 'add', path: `${at}/${index}/value`, value: String(dnsPort) }]
}

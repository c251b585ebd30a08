import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { NsmError } from '@nsm/sdk/errors.js'
import { formatPrefix, parsePrefix, rangeOf, type Prefix } from '@nsm/sdk/net/prefix.js'

/** What a mesh is started with; travels as JSON to the daemon. */
export interface MeshOptions {
  readonly name: string
  readonly nodes: number
  readonly trustDomain: string
  /** IPv4 prefix that joins the nodes. */
  readonly underlay: string
  /** IPv4 prefix that pods' `eth0` have addresses of; each node gets a /24 of it. */
  readonly podCidr: string
  /** No endpoint may hand out addresses of these; those of the mesh's own networks never are. */
  readonly excludedPrefixes: readonly string[]
  /** Longest life of a token: how long a connection outlives a client that is gone without a word. */
  readonly tokenSeconds: number
  /** Holds everything that the mesh has on disk. */
  readonly folder: string
  /** Holds one bundle per program of ours, and `nsm-run`. */
  readonly bundles: string
}

export const maxNodes = 64
/** As long as tokens of every program live by default. */
export const defaultTokenSeconds = 600

/** Checks the texts; throws INVALID_ARGUMENT naming the option. */
export function checkOptions(options: MeshOptions): MeshOptions {
  const fail = (message: string): never => {
    throw new NsmError('INVALID_ARGUMENT', message)
  }
  const { name, nodes, trustDomain, tokenSeconds } = options
  if (!/^[a-z0-9][-a-z0-9]{0,30}$/.test(name))
    fail(`--name must be up to 31 lower-case letters, digits and dashes, not "${name}"`)
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > maxNodes)
    fail(`--nodes must be a number from 1 to ${maxNodes}, not ${nodes}`)
  if (!Number.isInteger(tokenSeconds) || tokenSeconds < 5 || tokenSeconds > 86_400)
    fail(`--token-lifetime must be a number of seconds from 5 to 86400, not ${tokenSeconds}`)
  if (!/^[a-z0-9._-]{1,255}$/.test(trustDomain))
    fail(`--trust-domain must be lower-case letters, digits, dots, dashes, not "${trustDomain}"`)
  const underlay = ipv4('--underlay', options.underlay, 25)
  const pods = ipv4('--pod-cidr', options.podCidr, 18)
  if (nodes > 2 ** (24 - pods.length))
    fail(`--pod-cidr ${options.podCidr} has no /24 for each of ${nodes} nodes`)
  for (const prefix of options.excludedPrefixes)
    if (parsePrefix(prefix) === undefined)
      fail(`--exclude-prefix must be a prefix such as 10.0.0.0/8, not "${prefix}"`)
  return { ...options, underlay: formatPrefix(underlay), podCidr: formatPrefix(pods) }
}

function ipv4(option: string, text: string, longest: number): Prefix {
  const prefix = parsePrefix(text)
  const fits = prefix?.address.family === 4 && prefix.length >= 8 && prefix.length <= longest
  if (prefix !== undefined && fits && rangeOf(prefix).first === prefix.address.value) return prefix
  throw new NsmError(
    'INVALID_ARGUMENT',
    `${option} must be an IPv4 prefix without host bits, /8 to /${longest}, not "${text}"`,
  )
}

/** Where state folders are by default. */
export const stateRoot = '/run/nsm'

export function folderOf(name: string): string {
  return join(stateRoot, name)
}

/** The folder that the running program lies in. */
export function bundleFolder(): string {
  return dirname(fileURLToPath(import.meta.url))
}

/** Paths inside a mesh's folder. */
export interface MeshPaths {
  readonly daemon: string
  readonly sandboxes: string
  readonly control: string
  readonly workloadApi: string
  readonly webhookCa: string
  readonly namespaces: string
  readonly logs: string
  manager(node: string): string
  pod(uid: string): string
}

export function paths(folder: string): MeshPaths {
  return {
    daemon: join(folder, 'daemon.json'),
    sandboxes: join(folder, 'sandboxes.json'),
    control: join(folder, 'control.sock'),
    workloadApi: join(folder, 'spire'),
    webhookCa: join(folder, 'webhook', 'ca.pem'),
    namespaces: join(folder, 'webhook', 'namespaces.json'),
    logs: join(folder, 'logs'),
    manager: (node) => join(folder, 'nodes', node),
    pod: (uid) => join(folder, 'pods', uid),
  }
}

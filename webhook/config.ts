import {
  commonVariables,
  unsupportedEverywhere,
  type CommonConfig,
} from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema, type Variables } from '@nsm/sdk/process/config.js'
import { choice, custom, map, optional, text, type Variable } from '@nsm/sdk/process/variables.js'
import { isIP } from 'node:net'
import { clusterVariables, podVariables, type ClusterConfig, type PodConfig } from './cluster-variables.ts'
import { imageFault, quantityFault } from './kubernetes-values.ts'

/** Configuration of the admission webhook (wire contract §7.2). */
export interface WebhookConfig extends CommonConfig, ClusterConfig, PodConfig {
  readonly name: string
  readonly serviceName: string
  readonly namespace: string
  readonly listenOn: string
  readonly annotation: string
  readonly labels: Readonly<Record<string, string>>
  readonly nsurlEnvName: string
  readonly initContainerImages: readonly string[]
  readonly containerImages: readonly string[]
  /** Name → value. */
  readonly envs: Readonly<Record<string, string>>
  readonly certFilePath: string | undefined
  readonly keyFilePath: string | undefined
  readonly caBundleFilePath: string | undefined
  readonly limitsMemory: string
  readonly limitsCpu: string
  readonly requestsMemory: string
  readonly requestsCpu: string
  /** undefined = coredns when it has an image, embedded otherwise. */
  readonly dnsMode: 'coredns' | 'embedded' | 'off' | undefined
  readonly dnsImage: string | undefined
  readonly dnsResolvConf: 'auto' | 'file' | 'podspec'
  /** Empty = those of this pod's resolv.conf. */
  readonly dnsClusterServers: readonly string[]
  readonly dnsClusterDomain: string
  readonly dnsLimitsMemory: string
  readonly dnsLimitsCpu: string
  readonly dnsRequestsMemory: string
  readonly dnsRequestsCpu: string
}

/** Reads it from the environment. */
export const webhookConfig: ConfigSchema<WebhookConfig> = defineConfig<WebhookConfig>(
  {
    ...commonVariables(':8080'),
    name: text('NSM_NAME', 'admission-webhook-k8s', 'name of this webhook'),
    serviceName: text('NSM_SERVICE_NAME', 'default', 'Service in front of it, for the certificate'),
    namespace: text('NSM_NAMESPACE', 'default', 'namespace of that Service, for the certificate'),
    listenOn: text('NSM_LISTEN_ON', ':443', 'HTTPS address: host:port or :port'),
    annotation: text(
      'NSM_ANNOTATION',
      'networkservicemesh.io',
      'annotation that holds the network service URLs',
    ),
    labels: map('NSM_LABELS', '', 'labels put on injected pods'),
    nsurlEnvName: text('NSM_NSURL_ENV_NAME', 'NSM_NETWORK_SERVICES', 'variable that gets the URLs'),
    initContainerImages: images('NSM_INIT_CONTAINER_IMAGES', '', 'images injected as init containers'),
    containerImages: images('NSM_CONTAINER_IMAGES', undefined, 'images injected as native sidecars'),
    envs: assignments('NSM_ENVS', '', 'list of NAME=value for the injected containers'),
    certFilePath: optional(
      text('NSM_CERT_FILE_PATH', undefined, 'serving certificate, PEM; unset = made in process'),
    ),
    keyFilePath: optional(text('NSM_KEY_FILE_PATH', undefined, 'its private key, PEM')),
    caBundleFilePath: optional(
      text('NSM_CA_BUNDLE_FILE_PATH', undefined, 'where the CA of a certificate made in process is written'),
    ),
    ...clusterVariables(),
    ...podVariables(),
    limitsMemory: quantity('NSM_SIDECAR_LIMITS_MEMORY', '96Mi', 'memory limit of the injected containers'),
    limitsCpu: quantity('NSM_SIDECAR_LIMITS_CPU', '200m', 'CPU limit of the injected containers'),
    requestsMemory: quantity(
      'NSM_SIDECAR_REQUESTS_MEMORY',
      '24Mi',
      'memory request of the injected containers',
    ),
    requestsCpu: quantity('NSM_SIDECAR_REQUESTS_CPU', '10m', 'CPU request of the injected containers'),
    ...dnsVariables(),
  },
  {
    ...unsupportedEverywhere,
    NSM_WEBHOOK_MODE: 'the serving certificate comes from files or is made in process',
  },
)

function dnsVariables(): Variables<DnsConfig> {
  return {
    dnsMode: optional(
      choice(
        'NSM_DNS_MODE',
        undefined,
        'who resolves the names that services bring: a CoreDNS container beside the sidecar (coredns), the sidecar (embedded), or nobody (off); unset = coredns when NSM_DNS_IMAGE is set, else embedded',
        ['coredns', 'embedded', 'off'],
      ),
    ),
    dnsImage: optional(
      oneImage('NSM_DNS_IMAGE', 'image of a CoreDNS with the fanout plugin, for NSM_DNS_MODE=coredns'),
    ),
    dnsResolvConf: choice(
      'NSM_DNS_RESOLV_CONF',
      'auto',
      'how pods are pointed to the resolver: resolv.conf is written while services bring names (file), or dnsPolicy and dnsConfig say so from the start (podspec); auto = podspec where Pod Security level restricted is enforced, else file',
      ['auto', 'file', 'podspec'],
    ),
    dnsClusterServers: addresses(
      'NSM_DNS_CLUSTER_SERVERS',
      'addresses of the cluster’s resolvers, for podspec; unset = those that this pod has',
    ),
    dnsClusterDomain: text('NSM_DNS_CLUSTER_DOMAIN', 'cluster.local', 'the cluster’s domain'),
    dnsLimitsMemory: quantity('NSM_DNS_LIMITS_MEMORY', '128Mi', 'memory limit of the CoreDNS container'),
    dnsLimitsCpu: quantity('NSM_DNS_LIMITS_CPU', '200m', 'CPU limit of the CoreDNS container'),
    dnsRequestsMemory: quantity('NSM_DNS_REQUESTS_MEMORY', '32Mi', 'memory request of the CoreDNS container'),
    dnsRequestsCpu: quantity('NSM_DNS_REQUESTS_CPU', '10m', 'CPU request of the CoreDNS container'),
  }
}

type DnsConfig = Pick<WebhookConfig, Extract<keyof WebhookConfig, `dns${string}`>>

function oneImage(name: string, meaning: string): Variable<string> {
  const read = (value: string): string => {
    const fault = imageFault(value)
    if (fault !== undefined) throw new Error(`must be an image; ${fault}`)
    return value
  }
  return custom('image', read, [name, undefined, meaning])
}

function addresses(name: string, meaning: string): Variable<readonly string[]> {
  const read = (value: string): readonly string[] => {
    const items = value.split(',').map((item) => item.trim())
    if (value !== '' && items.every((item) => isIP(item) !== 0)) return items
    if (value === '') return []
    throw new Error('must be a comma-separated list of addresses')
  }
  return { ...custom('list of addresses', read, [name, '', meaning]), emptyIsValue: true }
}

function images(name: string, fallback: string | undefined, meaning: string): Variable<readonly string[]> {
  const read = (value: string): readonly string[] => {
    const items = value === '' ? [] : value.split(',').map((item) => item.trim())
    for (const image of items) {
      const fault = imageFault(image)
      if (fault !== undefined) throw new Error(`must be a list of images; ${fault}`)
    }
    return items
  }
  return custom('list of images', read, [name, fallback, meaning])
}

function quantity(name: string, fallback: string, meaning: string): Variable<string> {
  const read = (value: string): string => {
    const fault = quantityFault(value)
    if (fault !== undefined) throw new Error(fault)
    return value
  }
  return custom('quantity', read, [name, fallback, meaning])
}

function assignments(
  name: string,
  fallback: string,
  meaning: string,
): Variable<Readonly<Record<string, string>>> {
  const read = (given: string): Readonly<Record<string, string>> => {
    const pairs = (given === '' ? [] : given.split(',')).map((item): [string, string] => {
      const [, key, value] = /^\s*([-._a-zA-Z][-._a-zA-Z0-9]*)=(.*)$/.exec(item) ?? []
      if (key === undefined || value === undefined)
        throw new Error('must be a list such as NAME=value,OTHER=value')
      return [key, value]
    })
    return Object.fromEntries(pairs)
  }
  return { ...custom('list of NAME=value', read, [name, fallback, meaning]), emptyIsValue: true }
}

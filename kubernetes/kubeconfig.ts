import type { Agent } from 'node:http'
import type { RequestOptions } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node/dist/config.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Access, Credentials, TlsOptions } from './access.ts'

/**
 * Access as kubeconfig files (several are separated as in KUBECONFIG) tell it: certificates, tokens, exec plugins.
 * @throws NsmError INVALID_ARGUMENT that says which file or context is wrong
 */
export function kubeconfigAccess(files: readonly string[], contextName?: string): Access {
  const config = load(files)
  if (contextName !== undefined) config.setCurrentContext(contextName)
  const context = config.getContextObject(config.getCurrentContext())
  if (context === null) throw wrong(`no context "${config.getCurrentContext()}" in ${files.join(', ')}`)
  const cluster = config.getCurrentCluster()
  if (cluster === null) throw wrong(`no cluster "${context.cluster}" in ${files.join(', ')}`)
  return {
    server: new URL(cluster.server),
    namespace: context.namespace ?? 'default',
    credentials: () => credentials(config, cluster),
  }
}

function load(files: readonly string[]): KubeConfig {
  const config = new KubeConfig()
  for (const [at, file] of files.entries()) {
    try {
      const one = new KubeConfig()
      one.loadFromFile(file)
      if (at === 0) config.loadFromFile(file)
      else config.mergeConfig(one, true)
    } catch (cause) {
      throw wrong(`${file}: ${cause instanceof Error ? cause.message : String(cause)}`, cause)
    }
  }
  return config
}

type Cluster = NonNullable<ReturnType<KubeConfig['getCurrentCluster']>>

async function credentials(config: KubeConfig, cluster: Cluster): Promise<Credentials> {
  const options: RequestOptions & TlsOptions = {}
  try {
    await config.applyToHTTPSOptions(options)
  } catch (cause) {
    const sentence = `no credentials from the kubeconfig: ${cause instanceof Error ? cause.message : String(cause)}`
    throw new NsmError('UNAUTHENTICATED', sentence, { cause })
  }
  const { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername } = options
  const tls = { ca, cert, key, pfx, passphrase, rejectUnauthorized, servername }
  return {
    headers: headersOf(options),
    tls: Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)),
    ...(cluster.proxyUrl === undefined ? {} : { agent: options.agent as Agent }),
  }
}

function headersOf({ headers = {}, auth }: RequestOptions): Record<string, string> {
  const found = Object.entries(headers).map(([name, value]): [string, string] => [
    name.toLowerCase(),
    String(value),
  ])
  if (typeof auth === 'string') found.push(['authorization', `Basic ${Buffer.from(auth).toString('base64')}`])
  return Object.fromEntries(found)
}

function wrong(sentence: string, cause?: unknown): NsmError {
  return new NsmError('INVALID_ARGUMENT', `kubeconfig: ${sentence}`, { cause })
}

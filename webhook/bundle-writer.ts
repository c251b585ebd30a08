import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { absent } from '@nsm/kubernetes/absent.js'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { objectOf, textOf } from './json.ts'

/** Which webhooks of which configuration get the bundle: those that call the given Service. */
export interface BundleWriterOptions {
  readonly client: ApiClient
  readonly name: string
  readonly service: { readonly name: string; readonly namespace: string }
  readonly log: Logger
}

/** Writes the CA bundle into a MutatingWebhookConfiguration. */
export interface BundleWriter {
  /** Resolves when it is there. */
  write(bundle: string): Promise<void>
  /** Looks again, and resolves with whether there was anything to write. */
  rewrite(): Promise<boolean>
  /** Whether the configuration lacks what was written last. */
  isLacking(configuration: KubernetesObject): boolean
  close(): void
}

/** All MutatingWebhookConfigurations. */
export const webhookConfigurations = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'
/** Replicas that start together get into each other's way now and then. */
const maxTries = 10

/** Writes one thing at a time: what is wanted meanwhile is written by the write that runs. */
export function bundleWriter(options: BundleWriterOptions): BundleWriter {
  /** PEM; empty = nothing yet. */
  let wanted = ''
  let writing: Promise<boolean> | undefined
  let isClosed = false

  const newest = async (): Promise<boolean> => {
    let isChanged = false
    try {
      for (let tries = 1; ; tries++) {
        const bundle = wanted
        const outcome = await unlessOvertaken(writeOnce(options, bundle), tries < maxTries)
        isChanged ||= outcome === 'written'
        if (isClosed || (outcome !== 'overtaken' && bundle === wanted)) return isChanged
      }
    } finally {
      writing = undefined
    }
  }
  return {
    async write(bundle) {
      wanted = bundle
      await (writing ??= newest())
    },
    async rewrite() {
      // The one that runs may have looked before it was changed.
      await writing?.catch(() => undefined)
      return (writing ??= newest())
    },
    isLacking: (configuration) => wanted !== '' && lacking(configuration, options.service, wanted).length > 0,
    close: () => void (isClosed = true),
  }
}

type Outcome = 'written' | 'nothing to write' | 'overtaken'

/** Overtaken = somebody else was faster, and it may be tried again. */
async function unlessOvertaken(written: Promise<boolean>, mayTryAgain: boolean): Promise<Outcome> {
  try {
    return (await written) ? 'written' : 'nothing to write'
  } catch (err) {
    if (NsmError.from(err).code !== 'ABORTED' || !mayTryAgain) throw err
    return 'overtaken'
  }
}

/** Resolves with whether there was anything to write. */
async function writeOnce(
  { client, name, service, log }: BundleWriterOptions,
  bundle: string,
): Promise<boolean> {
  const path = `${webhookConfigurations}/${name}`
  const configuration = await client.get(path).catch(absent)
  const webhooks = configuration === undefined ? [] : lacking(configuration, service, bundle)
  if (configuration === undefined || webhooks.length === 0) return false
  const value = Buffer.from(bundle).toString('base64')
  // With the version, the server refuses what was made for another state.
  const version = {
    op: 'add',
    path: '/metadata/resourceVersion',
    value: configuration.metadata.resourceVersion,
  }
  const bundles = webhooks.map((index) => ({
    op: 'add',
    path: `/webhooks/${index}/clientConfig/caBundle`,
    value,
  }))
  await client.patch(path, [version, ...bundles], 'json')
  log.info({ configuration: name }, 'CA bundle written')
  return true
}

/** Places of the webhooks that call the Service and have another bundle. */
function lacking(
  configuration: KubernetesObject,
  service: BundleWriterOptions['service'],
  bundle: string,
): readonly number[] {
  const all = Array.isArray(configuration['webhooks']) ? (configuration['webhooks'] as unknown[]) : []
  return all.flatMap((webhook, index) => {
    const clientConfig = objectOf(objectOf(webhook)?.['clientConfig'])
    const called = objectOf(clientConfig?.['service'])
    if (called?.['name'] !== service.name || called['namespace'] !== service.namespace) return []
    const present = Buffer.from(textOf(clientConfig?.['caBundle']) ?? '', 'base64').toString()
    return present === bundle ? [] : [index]
  })
}

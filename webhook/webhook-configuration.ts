import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { backoff } from '@nsm/spiffe/backoff.js'
import { informer } from '@nsm/kubernetes/informer.js'
import { objectOf, textOf } from './json.ts'
import type { BundlePublisher } from './own-certificate.ts'

/** Which webhooks of which configuration get the bundle: those that call the given Service. */
export interface WebhookConfigurationOptions {
  readonly client: ApiClient
  readonly name: string
  readonly service: { readonly name: string; readonly namespace: string }
  readonly log: Logger
  readonly clock?: Clock
}

/** Replicas that start together get into each other's way now and then. */
const maxTries = 10
const collection = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'

/**
 * Keeps the CA bundle in a MutatingWebhookConfiguration, and puts it back whenever somebody takes it out. All replicas do,
 * and write only what differs. A configuration that does not exist yet gets it when it is made.
 */
export function configuredBundle(options: WebhookConfigurationOptions): BundlePublisher {
  const { client, name, log, clock = systemClock } = options
  const retry = backoff({ minMs: 1_000, maxMs: 60_000, random: Math.random })
  let wanted: string | undefined
  let disarm = (): void => undefined
  let isClosed = false
  const follow = (bundle: string): void => {
    disarm()
    write(options, bundle).then(
      () => retry.reset(),
      (err: unknown) => {
        if (isClosed) return
        const ms = retry.next()
        log.warn({ configuration: name, err: String(err), retry_ms: Math.round(ms) }, 'CA bundle not written')
        disarm = clock.after(ms, () => follow(wanted ?? bundle))
      },
    )
  }
  const select = { fieldSelector: `metadata.name=${name}` }
  const followed = informer<KubernetesObject>({ client, path: collection, select, log, clock })
  followed.onChange(({ type, object }) => {
    if (type !== 'deleted' && wanted !== undefined && lacking(object, options.service, wanted).length > 0)
      follow(wanted)
  })
  return {
    publish: async (bundle) => {
      wanted = bundle
      await write(options, bundle)
    },
    close: () => {
      isClosed = true
      disarm()
      followed.close()
    },
  }
}

async function write(options: WebhookConfigurationOptions, bundle: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await writeOnce(options, bundle)
    } catch (err) {
      if (NsmError.from(err).code !== 'ABORTED' || tries === maxTries) throw err
    }
  }
}

async function writeOnce(
  { client, name, service, log }: WebhookConfigurationOptions,
  bundle: string,
): Promise<void> {
  const path = `${collection}/${name}`
  const configuration = await client.get(path).catch(absent)
  const webhooks = configuration === undefined ? [] : lacking(configuration, service, bundle)
  if (configuration === undefined || webhooks.length === 0) return
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
}

function absent(err: unknown): undefined {
  if (NsmError.from(err).code === 'NOT_FOUND') return undefined
  throw err
}

/** Places of the webhooks that call the Service and have another bundle. */
function lacking(
  configuration: KubernetesObject,
  service: WebhookConfigurationOptions['service'],
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

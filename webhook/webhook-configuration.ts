import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { backoff } from '@nsm/spiffe/backoff.js'
import { informer } from '@nsm/kubernetes/informer.js'
import { bundleWriter, webhookConfigurations, type BundleWriterOptions } from './bundle-writer.ts'
import type { BundlePublisher } from './own-certificate.ts'

export interface WebhookConfigurationOptions extends BundleWriterOptions {
  readonly clock?: Clock
}

/** After this time without one, the next repair does not count as part of a quarrel. */
const calmMs = 600_000

/**
 * Keeps the CA bundle in a MutatingWebhookConfiguration, and puts it back whenever somebody takes it out. All replicas do,
 * and write only what differs. Whoever goes on to disagree, such as a replica that has not heard of a new authority yet,
 * is answered more and more slowly. A configuration that does not exist yet gets it when it is made.
 */
export function configuredBundle(options: WebhookConfigurationOptions): BundlePublisher {
  const { client, name, log, clock = systemClock } = options
  const writer = bundleWriter(options)
  const pauses = backoff({ minMs: 1_000, maxMs: 60_000, random: Math.random })
  let repairedAt = -Infinity
  let pauseMs = 0
  let disarm = (): void => undefined
  let isClosed = false

  const slowDown = (): void => {
    repairedAt = clock.now()
    pauseMs = pauses.next()
  }
  const repair = async (): Promise<void> => {
    try {
      if (await writer.rewrite()) slowDown()
    } catch (err) {
      slowDown()
      const retry_ms = Math.round(pauseMs)
      if (!isClosed) log.warn({ configuration: name, err: String(err), retry_ms }, 'CA bundle not written')
      repairSoon()
    }
  }
  const repairSoon = (): void => {
    disarm()
    if (isClosed) return
    const now = clock.now()
    if (now - repairedAt > calmMs) {
      pauses.reset()
      pauseMs = 0
    }
    disarm = clock.after(Math.max(0, repairedAt + pauseMs - now), () => void repair())
  }
  const select = { fieldSelector: `metadata.name=${name}` }
  const followed = informer<KubernetesObject>({ client, path: webhookConfigurations, select, log, clock })
  followed.onChange(({ type, object }) => {
    if (type !== 'deleted' && writer.isLacking(object)) repairSoon()
  })
  return {
    publish: (bundle) => writer.write(bundle),
    close: () => {
      isClosed = true
      disarm()
      followed.close()
      writer.close()
    },
  }
}

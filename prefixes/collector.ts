import { hostname } from 'node:os'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { eventRecorder, type EventRecorder } from '@nsm/kubernetes/events.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { systemClock } from '@nsm/sdk/clock.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import { checks } from '@nsm/sdk/process/checks.js'
import { opsServer } from '@nsm/sdk/process/ops-server.js'
import type { Service } from '@nsm/sdk/process/run.js'
import { version } from '@nsm/sdk/process/version.js'
import type { CollectorConfig } from './config.ts'
import { followInput, type Input } from './input.ts'
import { keepWritten } from './keep-written.ts'
import { atMost, mergePrefixes } from './merge.ts'
import { collectorMetrics } from './metrics.ts'
import { configMapOutput, fileOutput, type Output } from './output.ts'
import { prefixesText } from './prefixes-text.ts'
import { clusterSources } from './sources.ts'

/** Every request of every client carries them all, and nsmgr takes 2048. */
const maxPrefixes = 1000

/** Starts the collector. It writes nothing before it knows everything, so that a restart takes no prefix away. */
export async function startCollector(config: CollectorConfig, log: Logger): Promise<Service> {
  const client = await openApiClient({ userAgent: `nsm-prefixes/${version}`, log })
  const recorder = eventRecorder({ client, component: 'nsm-prefixes', instance: hostname(), log })
  const input = inputOf(config, { client, recorder, log, changed: () => kept.changed() })
  const sources = clusterSources({ client, input, log, changed: () => kept.changed() })
  let count = 0
  const text = (): string | undefined => {
    const found = sources.prefixes()
    if (found === undefined) return undefined
    const prefixes = bounded([...config.excludedPrefixes, ...found], log)
    count = prefixes.length
    return prefixesText(prefixes)
  }
  const kept = keepWritten({ output: outputOf(config, client), text, clock: systemClock, log })
  kept.changed()
  const ready = checks()
  ready.add('sources', () => {
    const names = sources.unknown()
    return names.length === 0 ? undefined : `not read yet: ${names.join(', ')}`
  })
  ready.add('output', () => kept.fault())
  const metrics = collectorMetrics({ prefixes: () => count, faults: () => input.faults })
  const ops = await opsServer({ listenOn: config.opsListenOn, checks: ready, metrics })
  log.info({ ops: ops.address }, 'listening')

  return {
    async close() {
      kept.close()
      sources.close()
      await Promise.all([ops.close(), recorder.close()])
      client.close()
    },
  }
}

function bounded(prefixes: readonly Prefix[], log: Logger): readonly Prefix[] {
  const merged = mergePrefixes(prefixes)
  if (merged.length <= maxPrefixes) return merged
  log.warn({ prefixes: merged.length, at_most: maxPrefixes }, 'too many prefixes: neighbours are made one')
  return atMost(maxPrefixes, merged)
}

function inputOf(
  { configMapNamespace, configMapName, configMapKey }: CollectorConfig,
  rest: { client: ApiClient; recorder: EventRecorder; log: Logger; changed: () => void },
): Input {
  return followInput({ namespace: configMapNamespace, name: configMapName, key: configMapKey, ...rest })
}

function outputOf(config: CollectorConfig, client: ApiClient): Output {
  if (config.outputType === 'file') return fileOutput(config.outputFilePath)
  const { configMapNamespace: namespace, outputConfigMapName: name, outputConfigMapKey: key } = config
  return configMapOutput(client, { namespace, name, key })
}

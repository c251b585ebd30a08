import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { EventRecorder } from '@nsm/kubernetes/events.js'
import { informer } from '@nsm/kubernetes/informer.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import { readUserInput } from './user-input.ts'

/** What users excluded. */
export interface Input {
  /** undefined = not known yet: not listed, or never readable since the start. */
  prefixes(): readonly Prefix[] | undefined
  /** Faults in what stands there now. */
  readonly faults: number
  close(): void
}

export interface InputOptions {
  readonly client: ApiClient
  readonly namespace: string
  readonly name: string
  readonly key: string
  readonly recorder: EventRecorder
  readonly log: Logger
  readonly changed: () => void
}

interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>
}

/** Follows a ConfigMap. What is wrong in it becomes an Event on it; a text that cannot be read at all leaves in force what was read before, also by an earlier process. */
export function followInput(options: InputOptions): Input {
  const { client, namespace, name, key, recorder, log, changed } = options
  const source = informer<ConfigMap>({
    client,
    path: `/api/v1/namespaces/${encodeURIComponent(namespace)}/configmaps`,
    select: { fieldSelector: `metadata.name=${name}` },
    log,
  })
  let prefixes: readonly Prefix[] | undefined = []
  let faults = 0

  function complain(configMap: ConfigMap, sentences: readonly string[]): void {
    faults += sentences.length
    const { uid } = configMap.metadata
    const regarding = { apiVersion: 'v1', kind: 'ConfigMap', namespace, name, uid }
    for (const sentence of sentences) {
      const message = `key "${key}": ${sentence}`
      recorder.record({ regarding, type: 'Warning', reason: 'ExcludedPrefixesInvalid', message })
      log.warn({ config_map: `${namespace}/${name}`, key }, sentence)
    }
  }

  function take(configMap: ConfigMap | undefined): void {
    faults = 0
    const data = configMap?.data ?? {}
    const text = data[key]
    if (configMap === undefined || text === undefined) {
      prefixes = []
      if (configMap !== undefined) complain(configMap, missing(Object.keys(data)))
      return
    }
    try {
      const read = readUserInput(text)
      prefixes = read.prefixes
      complain(configMap, read.faults)
    } catch (err) {
      // A text that is wrong from the start: what was in force before this process is only in the output, which must stay.
      if (!source.isListed) prefixes = undefined
      const sentence = err instanceof Error ? err.message : String(err)
      const stays =
        prefixes === undefined
          ? 'nothing is written until it is right'
          : 'what was read before stays in force'
      complain(configMap, [`${sentence}; ${stays}`])
    }
  }

  source.onChange(({ type, object }) => {
    take(type === 'deleted' ? undefined : object)
    changed()
  })
  void source.whenSynced().then(changed, () => undefined)

  return {
    prefixes: () => (source.isListed ? prefixes : undefined),
    get faults() {
      return faults
    },
    close: () => source.close(),
  }
}

/** An empty ConfigMap excludes nothing; another key is one that was misspelt. */
function missing(others: readonly string[]): readonly string[] {
  if (others.length === 0) return []
  return [`is missing; there is ${others.map((other) => JSON.stringify(other)).join(', ')}`]
}

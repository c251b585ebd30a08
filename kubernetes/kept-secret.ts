import { setTimeout as pause } from 'node:timers/promises'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { ApiClient, KubernetesObject } from './api-client.ts'
import { informer } from './informer.ts'

/** Values of a Secret by key, decoded. */
export type SecretData = Readonly<Record<string, Buffer>>

/** One Secret that several replicas change and follow. */
export interface KeptSecret {
  /** What is known now; empty while there is no such Secret. */
  read(): SecretData
  /**
   * Writes what `change` makes of the data, or nothing when it answers undefined; when somebody was faster, `change` is called again with what they wrote.
   * Afterwards `read` answers what was written. Rejects as the client does: NOT_FOUND when there is no such Secret, ABORTED when others were always faster.
   */
  update(change: (data: SecretData) => Promise<SecretData | undefined>): Promise<void>
  /** Calls after the data has changed, by whomever. The answer ends that. */
  onChange(listener: () => void): () => void
  close(): void
}

export interface KeptSecretOptions {
  readonly client: ApiClient
  readonly namespace: string
  readonly name: string
  readonly log: Logger
  /** Ends the wait for the first reading. */
  readonly signal?: AbortSignal
}

interface Secret extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>> | null
}

const maxTries = 20
const longestPauseMs = 200

/** Opens it: resolves when it has been read. Needs the verbs get, list, watch and update on this one Secret. */
export async function keptSecret(options: KeptSecretOptions): Promise<KeptSecret> {
  const { client, namespace, name, log, signal } = options
  const collection = `/api/v1/namespaces/${encodeURIComponent(namespace)}/secrets`
  const path = `${collection}/${encodeURIComponent(name)}`
  const select = { fieldSelector: `metadata.name=${name}` }
  const source = informer<Secret>({ client, path: collection, select, log })
  const listeners = new Set<() => void>()
  let secret: Secret | undefined
  let data: SecretData = {}

  function take(newest: Secret | undefined): void {
    // The watch may tell late of what was there before a write of our own.
    if (newest !== undefined && secret !== undefined && isBehind(newest, secret)) return
    secret = newest
    const before = data
    data = decoded(newest)
    if (isSame(before, data)) return
    for (const listener of listeners) listener()
  }

  async function tryUpdate(change: (data: SecretData) => Promise<SecretData | undefined>): Promise<void> {
    const base = secret ?? (await client.get<Secret>(path))
    const changed = await change(decoded(base))
    if (changed === undefined) return
    const encoded = Object.entries(changed).map(([key, value]) => [key, value.toString('base64')])
    take(
      await client.replace<Secret>(path, {
        ...base,
        data: Object.fromEntries(encoded) as Record<string, string>,
      }),
    )
  }

  source.onChange(({ type, object }) => take(type === 'deleted' ? undefined : object))
  try {
    await source.whenSynced(signal)
  } catch (err) {
    source.close()
    throw err
  }

  return {
    read: () => data,
    async update(change) {
      for (let tries = 1; ; tries += 1) {
        try {
          await tryUpdate(change)
          return
        } catch (err) {
          if (!(err instanceof NsmError) || err.code !== 'ABORTED' || tries === maxTries) throw err
          await pause(Math.random() * longestPauseMs)
          take(await client.get<Secret>(path))
        }
      }
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close: () => source.close(),
  }
}

function decoded(secret: Secret | undefined): SecretData {
  const entries = Object.entries(secret?.data ?? {})
  return Object.fromEntries(entries.map(([key, value]) => [key, Buffer.from(value, 'base64')]))
}

function isSame(a: SecretData, b: SecretData): boolean {
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => b[key] !== undefined && a[key]?.equals(b[key]))
  )
}

function isBehind(a: Secret, b: Secret): boolean {
  const [versionA = '', versionB = ''] = [a.metadata.resourceVersion, b.metadata.resourceVersion]
  if (a.metadata.uid !== b.metadata.uid || !/^\d+$/.test(versionA) || !/^\d+$/.test(versionB)) return false
  return BigInt(versionA) < BigInt(versionB)
}

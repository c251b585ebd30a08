import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'

/** Where the prefixes are written. */
export interface Output {
  /** For people. */
  readonly name: string
  /** What is there; undefined = nothing. */
  read(): Promise<string | undefined>
  /** Replaces it all at once: no reader sees half of it. */
  write(text: string): Promise<void>
}

/** A file for its owner alone, as the contract says (§5.7). Folders that are missing are made. */
export function fileOutput(path: string): Output {
  const folder = dirname(path)
  const temporary = join(folder, `.${basename(path)}.${process.pid}`)
  return {
    name: path,
    async read() {
      try {
        return await readFile(path, 'utf8')
      } catch (err) {
        if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw err
      }
    },
    async write(text) {
      await mkdir(folder, { recursive: true })
      try {
        const file = await open(temporary, 'w', 0o600)
        try {
          await file.writeFile(text)
          // Or a machine that stops now may come back with an empty file under the name.
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(temporary, path)
      } finally {
        await rm(temporary, { force: true })
      }
    },
  }
}

interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>
}

/** One key of a ConfigMap that is there; its other keys stay as they are. */
export function configMapOutput(
  client: ApiClient,
  { namespace, name, key }: { readonly namespace: string; readonly name: string; readonly key: string },
): Output {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/configmaps/${encodeURIComponent(name)}`
  return {
    name: `ConfigMap ${namespace}/${name}, key ${key}`,
    read: async () => (await client.get<ConfigMap>(path)).data?.[key],
    async write(text) {
      await client.patch(path, { data: { [key]: text } }, 'merge')
    },
  }
}

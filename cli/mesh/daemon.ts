import { join } from 'node:path'
import { mkdir } from 'node:fs/promises'
import { NsmError } from '@nsm/sdk/errors.js'
import { jsonLog } from '@nsm/sdk/process/json-log.js'
import { namespaceOf } from '../manifest/objects.ts'
import { applyFiles, deleteFiles, deleteOne } from './apply.ts'
import { connectionsOf } from './connections.ts'
import type { Handlers } from './control-api.ts'
import { controlServer } from './control-server.ts'
import { logFile } from './log-file.ts'
import { Mesh } from './mesh.ts'
import { paths, type MeshOptions } from './options.ts'
import type { RunningPod } from './pod.ts'
import { runnerIn } from './programs.ts'
import { claimFolder, cleanFolder } from './state.ts'

/** One line of JSON each on the daemon's standard output. */
export type DaemonEvent =
  | { readonly event: 'progress'; readonly text: string }
  | { readonly event: 'up' }
  | { readonly event: 'failed'; readonly reason: string }

/**
 * The mesh's own process, in a network namespace of its own: starts everything, serves the control API, and ends with
 * everything when `stop` aborts or somebody says `down`. Resolves when nothing is left.
 */
export async function runDaemon(
  options: MeshOptions,
  stop: AbortSignal,
  tell: (event: DaemonEvent) => void,
): Promise<void> {
  const { folder, name } = options
  const file = logFile(join(paths(folder).logs, 'mesh.log'))
  const { log } = jsonLog('mesh', {
    write: (line) => file.write(Buffer.from(line)),
    flush: async () => undefined,
  })
  const down = new AbortController()
  const ending = AbortSignal.any([stop, down.signal])
  const mesh = new Mesh(options, { progress: (text) => tell({ event: 'progress', text }), log })
  await claimFolder(folder, name)
  let closeControl = async (): Promise<void> => undefined
  try {
    await mkdir(paths(folder).logs, { recursive: true })
    await Promise.race([mesh.start(), aborted(ending)])
    closeControl = await controlServer(
      paths(folder).control,
      handlersFor(mesh, () => down.abort()),
    )
    tell({ event: 'up' })
    await aborted(ending).catch(() => undefined)
  } finally {
    await mesh
      .close()
      .catch((err: unknown) => log.error({ err: NsmError.from(err).message }, 'not all was closed'))
    await closeControl()
    await file.close()
    await cleanFolder(folder)
  }
}

function handlersFor(mesh: Mesh, down: () => void): Handlers {
  const { workloads, options } = mesh
  return {
    mesh: async () => ({
      name: options.name,
      trustDomain: options.trustDomain,
      pid: process.pid,
      parts: mesh.parts().map(({ node, part }) => ({ node, ...part.status })),
    }),
    pods: async () => workloads.list(),
    deployments: async () => workloads.deploymentList(),
    namespaces: async () => mesh.namespaces.list().map(({ metadata }) => metadata.name),
    networkservices: async () =>
      mesh.networkServices.list().map((object) => ({
        namespace: namespaceOf(object),
        name: object.metadata.name,
        payload: object.spec?.payload || 'ETHERNET',
      })),
    connections: async ({ namespace, pod }) =>
      connectionsOf(
        workloads
          .running()
          .filter(
            ({ status }) =>
              (namespace ?? status.namespace) === status.namespace && (pod ?? status.name) === status.name,
          ),
      ),
    apply: async ({ files }) => applyFiles(mesh, files),
    delete: async ({ files }) => deleteFiles(mesh, files),
    deleteOne: async ({ kind, namespace, name }) => ({
      object: `${kind.toLowerCase()} ${kind === 'Namespace' ? name : `${namespace}/${name}`}`,
      result: await deleteOne(mesh, kind, namespace, name),
      message: '',
    }),
    exec: async ({ namespace, pod, container }) => ({
      ...(await podOf(mesh, namespace, pod).beside(container)),
      runner: runnerIn(options.bundles),
    }),
    routes: async ({ namespace, pod }) => podOf(mesh, namespace, pod).routes(),
    down: async () => {
      // The answer goes out first.
      setImmediate(down)
      return undefined
    },
  }
}

function podOf({ workloads }: Mesh, namespace: string, name: string): RunningPod {
  const found = workloads.get(namespace, name)
  if (found !== undefined) return found
  throw new NsmError('NOT_FOUND', `there is no pod ${namespace}/${name}; see \`nsm get pods\``)
}

async function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const stop = (): void => reject(NsmError.from(signal.reason))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}

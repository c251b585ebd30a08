import { NsmError } from '@nsm/sdk/errors.js'
import type { Namespace } from '../manifest/objects.ts'
import { systemNamespace } from './control-plane.ts'
import { replaceFile } from './state.ts'

/** Namespaces of the mesh; the webhook reads them from a file. */
export interface Namespaces {
  list(): readonly Namespace[]
  /** NOT_FOUND with what to do when there is none of that name. */
  require(name: string): void
  has(name: string): boolean
  apply(namespace: Namespace): Promise<void>
  /** FAILED_PRECONDITION for the ones that are always there. */
  remove(name: string): Promise<boolean>
}

const always = ['default', 'kube-system', systemNamespace]

/** The ones that each cluster has, and those that come with YAML. */
export async function namespacesIn(file: string): Promise<Namespaces> {
  const known = new Map<string, Namespace>(
    always.map((name) => [name, labelled({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })]),
  )
  const write = async (): Promise<void> => replaceFile(file, JSON.stringify([...known.values()]))
  await write()
  return {
    list: () => [...known.values()],
    has: (name) => known.has(name),
    require(name) {
      if (!known.has(name))
        throw new NsmError(
          'NOT_FOUND',
          `namespace ${name} does not exist: apply a Namespace of that name first`,
        )
    },
    async apply(namespace) {
      known.set(namespace.metadata.name, labelled(namespace))
      await write()
    },
    async remove(name) {
      if (always.includes(name))
        throw new NsmError('FAILED_PRECONDITION', `namespace ${name} can not be deleted`)
      const found = known.delete(name)
      if (found) await write()
      return found
    },
  }
}

/** API servers put this label on every namespace. */
function labelled(namespace: Namespace): Namespace {
  const { metadata } = namespace
  return {
    ...namespace,
    metadata: { ...metadata, labels: { ...metadata.labels, 'kubernetes.io/metadata.name': metadata.name } },
  }
}

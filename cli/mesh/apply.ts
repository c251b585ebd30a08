import { isDeepStrictEqual } from 'node:util'
import { NsmError } from '@nsm/sdk/errors.js'
import { nameOf, namespaceOf, type MeshObject, type Pod } from '../manifest/objects.ts'
import { parseManifest } from '../manifest/parse.ts'
import type { Mesh } from './mesh.ts'

/** A YAML text and where it is from. */
export interface ManifestFile {
  readonly name: string
  readonly text: string
}

/** What became of one object. */
export interface Outcome {
  /** As `pod demo/client-1`. */
  readonly object: string
  readonly result: 'applied' | 'created' | 'unchanged' | 'deleted' | 'not found' | 'failed'
  /** Why it failed, or what the webhook warned of; empty when there is nothing to say. */
  readonly message: string
}

type Done = Pick<Outcome, 'result'> & Partial<Pick<Outcome, 'message'>>

/** Kinds in the order in which they need each other. */
const order: readonly MeshObject['kind'][] = ['Namespace', 'NetworkService', 'Deployment', 'Pod']

/** Objects of all files, checked; nothing is done when one is wrong. Same kinds keep their order. */
export function objectsOf(files: readonly ManifestFile[]): readonly MeshObject[] {
  const objects: MeshObject[] = []
  const faults: string[] = []
  for (const { name, text } of files)
    try {
      objects.push(...parseManifest(text, name))
    } catch (err) {
      faults.push(NsmError.from(err).message)
    }
  if (faults.length > 0) throw new NsmError('INVALID_ARGUMENT', faults.join('\n'))
  return objects.toSorted((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind))
}

/** Brings the mesh to what the files say; one that fails doesn't keep the others. */
export async function applyFiles(mesh: Mesh, files: readonly ManifestFile[]): Promise<readonly Outcome[]> {
  return each(objectsOf(files), async (object) => applyOne(mesh, object))
}

/** Takes away what the files name. */
export async function deleteFiles(mesh: Mesh, files: readonly ManifestFile[]): Promise<readonly Outcome[]> {
  return each(objectsOf(files).toReversed(), async (object) => ({
    result: await deleteOne(mesh, object.kind, namespaceOf(object), object.metadata.name ?? ''),
  }))
}

/** Takes one object away; in a Namespace's case everything that is in it. */
export async function deleteOne(
  mesh: Mesh,
  kind: MeshObject['kind'],
  namespace: string,
  name: string,
): Promise<Outcome['result']> {
  if (kind === 'Pod') return found(await mesh.workloads.remove(namespace, name))
  if (kind === 'Deployment') return found(await mesh.workloads.removeDeployment(namespace, name))
  if (kind === 'NetworkService') return found(await mesh.networkServices.remove(namespace, name))
  if (!(await mesh.namespaces.remove(name))) return 'not found'
  await mesh.workloads.removeNamespace(name)
  for (const { metadata } of mesh.networkServices.list().filter((object) => namespaceOf(object) === name))
    await mesh.networkServices.remove(name, metadata.name)
  return 'deleted'
}

async function applyOne(mesh: Mesh, object: MeshObject): Promise<Done> {
  if (object.kind === 'Namespace') {
    await mesh.applyNamespace(object)
    return { result: 'applied' }
  }
  mesh.namespaces.require(namespaceOf(object))
  if (object.kind === 'NetworkService') {
    await mesh.networkServices.apply(object)
    return { result: 'applied' }
  }
  if (object.kind === 'Deployment') {
    mesh.workloads.setDeployment(object)
    return { result: 'applied' }
  }
  return applyPod(mesh, object)
}

/** A pod can't be changed: the same again is fine, another one under its name isn't. */
async function applyPod(mesh: Mesh, object: Pod): Promise<Done> {
  const { name } = object.metadata
  const present = name === undefined ? undefined : mesh.workloads.asked(namespaceOf(object), name)
  if (present === undefined) {
    const { warnings } = await mesh.workloads.create(object)
    return { result: 'created', message: warnings.map((text) => `warning: ${text}`).join('; ') }
  }
  const same = isDeepStrictEqual(
    [present.metadata.annotations, present.spec],
    [object.metadata.annotations, object.spec],
  )
  if (same) return { result: 'unchanged' }
  throw new NsmError(
    'FAILED_PRECONDITION',
    'it exists and is another one; a pod can not be changed: delete it first',
  )
}

async function each(
  objects: readonly MeshObject[],
  body: (object: MeshObject) => Promise<Done>,
): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  for (const object of objects)
    try {
      outcomes.push({ object: nameOf(object), message: '', ...(await body(object)) })
    } catch (err) {
      outcomes.push({ object: nameOf(object), result: 'failed', message: NsmError.from(err).message })
    }
  return outcomes
}

function found(there: boolean): Outcome['result'] {
  return there ? 'deleted' : 'not found'
}

import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import { turns } from '@nsm/sdk/registry/turns.js'
import type { Known } from './named-objects.ts'
import { changedObject, collectionPath, isObjectName, newObject, objectPath } from './resource.ts'
import type { Shared } from './shared.ts'

/** What changes objects of this registry, each in exactly the version that it was decided upon. */
export interface Writes<Item> {
  /**
   * Creates or changes the object of a name. `decide` sees the newest version, again each time that somebody was faster, and answers
   * what to write, or undefined = leave it. It may throw.
   */
  put(name: string, decide: (now: Known<Item> | undefined) => Item | undefined): Promise<void>
  /** Removes it, likewise, unless `check` throws; one that is not there is fine. */
  remove(name: string, check: (now: Known<Item>) => void): Promise<void>
}

/** While others write at the same moment; after that the caller may try again. */
const maxTries = 10
/** Writes of one owner at one time, and how many of one may wait: the burst of one does not keep all others waiting. */
const ownersShare = 16
const maxWaiting = 1024
/** Half of what is waited before the second try, on average; twice as long before each further one. */
const pauseMs = 5

export function writes<Item extends RegistryItem, Query, Response>(
  shared: Shared<Item, Query, Response>,
): Writes<Item> {
  const { resource, known, client, namespace, clock, random } = shared
  const { what } = resource.kind
  const shares = turns(maxWaiting, ownersShare)
  const pathOf = (name: string): string => objectPath(resource, { namespace, name })

  function inShare(item: Item | undefined, write: () => Promise<void>): () => Promise<void> {
    return async () => shares.run(item?.pathIds[0] ?? '', undefined, write)
  }

  /** Learns what is there now, past what the watch has told. */
  async function look(name: string, tries: number): Promise<void> {
    // So that those who are in each other's way do not meet again.
    if (tries > 0)
      await new Promise<void>((done) => clock.after(2 * random() * pauseMs * 2 ** Math.min(tries, 6), done))
    const before = known.at(namespace, name)
    try {
      known.written(await client.get(pathOf(name)))
    } catch (reason) {
      const err = NsmError.from(reason)
      if (err.code !== 'NOT_FOUND') throw refused(err)
      if (before !== undefined) known.removed(before.object)
    }
  }

  return {
    async put(name, decide) {
      checkName(what, name)
      for (let tries = 0; tries < maxTries; tries += 1) {
        if (tries > 0) await look(name, tries)
        const now = known.at(namespace, name)
        const item = decide(now)
        if (item === undefined) return
        const write = async (): Promise<void> =>
          known.written(
            now === undefined
              ? await client.create(collectionPath(resource, namespace), newObject(resource, namespace, item))
              : await client.replace(pathOf(name), changedObject(resource, now.object, [now.stored, item])),
          )
        const isDone = await attempt(now !== undefined, inShare(item, write))
        if (isDone) return
      }
      throw busy(what, name)
    },

    async remove(name, check) {
      if (!isObjectName(name)) return
      for (let tries = 0; tries < maxTries; tries += 1) {
        // One that another replica made a moment ago is not known here yet.
        if (tries > 0 || known.at(namespace, name) === undefined) await look(name, tries)
        const now = known.at(namespace, name)
        if (now === undefined) return
        check(now)
        const { uid = '', resourceVersion = '' } = now.object.metadata
        const write = async (): Promise<void> => {
          await client.delete(pathOf(name), { uid, resourceVersion })
          known.removed(now.object)
        }
        const isDone = await attempt(true, inShare(now.item, write))
        if (isDone) return
      }
      throw busy(what, name)
    },
  }
}

/** Answers whether it is done; false = somebody was faster, look again. */
async function attempt(isKnown: boolean, write: () => Promise<void>): Promise<boolean> {
  try {
    await write()
    return true
  } catch (reason) {
    const err = NsmError.from(reason)
    if (isOvertaken(err.code, isKnown)) return false
    throw refused(err)
  }
}

/** Somebody made, changed or removed it meanwhile. */
function isOvertaken(code: Code, isKnown: boolean): boolean {
  return code === 'ABORTED' || code === 'ALREADY_EXISTS' || (code === 'NOT_FOUND' && isKnown)
}

function busy(what: string, name: string): NsmError {
  return new NsmError('UNAVAILABLE', `${what} ${name} is being changed by others, try again`)
}

/** What the API server says of this registry's rights or of its own load is not about the caller's. */
function refused(err: NsmError): NsmError {
  const told: Partial<Record<Code, Code>> = {
    PERMISSION_DENIED: 'FAILED_PRECONDITION',
    NOT_FOUND: 'FAILED_PRECONDITION',
    RESOURCE_EXHAUSTED: 'UNAVAILABLE',
    DEADLINE_EXCEEDED: 'UNAVAILABLE',
  }
  return new NsmError(told[err.code] ?? err.code, `kubernetes: ${err.message}`, { cause: err })
}

function checkName(what: string, name: string): void {
  if (isObjectName(name)) return
  throw new NsmError(
    'INVALID_ARGUMENT',
    `${what} ${name} cannot be the name of a Kubernetes object: at most 253 characters a-z, 0-9, - and . are allowed, and each part between dots begins and ends with a letter or digit`,
  )
}

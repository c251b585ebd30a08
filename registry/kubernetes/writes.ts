import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { RegistryItem } from '@nsm/sdk/registry-chain.js'
import type { Known } from './known-objects.ts'
import { changedObject, collectionPath, isObjectName, newObject, objectPath } from './resource.ts'
import type { Shared } from './shared.ts'

/** What changes objects of this registry, each by the version that it was decided upon. */
export interface Writes<Item> {
  /**
   * Creates or changes the object of the item's name. `decide` sees the newest version, again each time that somebody was faster, and answers
   * what to write, or undefined = leave it. It may throw.
   */
  put(name: string, decide: (now: Known<Item> | undefined) => Item | undefined): Promise<void>
  /** Removes it, likewise, where `decide` says so; one that is not there is fine. */
  remove(name: string, decide: (now: Known<Item> | undefined) => boolean): Promise<void>
}

/** With an upstream registry or people writing at the same moment; after that the caller may try again. */
const maxTries = 5

export function writes<Item extends RegistryItem, Query, Response>(
  shared: Shared<Item, Query, Response>,
): Writes<Item> {
  const { resource, known, client, namespace } = shared

  const pathOf = (name: string): string => objectPath(resource, { namespace, name })

  /** Learns what is there now, past what the watch has told. */
  async function look(name: string): Promise<Known<Item> | undefined> {
    const before = known.at(namespace, name)
    try {
      known.written(await client.get(pathOf(name)))
    } catch (err) {
      if (NsmError.from(err).code !== 'NOT_FOUND') throw err
      if (before !== undefined) known.removed(before.object)
    }
    return known.at(namespace, name)
  }

  async function write(name: string, now: Known<Item> | undefined, item: Item): Promise<void> {
    const object =
      now === undefined
        ? await client.create(collectionPath(resource, namespace), newObject(resource, namespace, item))
        : await client.replace(pathOf(name), changedObject(resource, now.object, [now.item, item]))
    known.written(object)
  }

  async function attempts(
    name: string,
    attempt: (now: Known<Item> | undefined) => Promise<void>,
  ): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const now = known.at(namespace, name)
      try {
        return await attempt(now)
      } catch (reason) {
        const err = NsmError.from(reason)
        if (!overtaken(err.code, now !== undefined)) throw refused(err)
        if (tries === maxTries)
          throw new NsmError(
            'UNAVAILABLE',
            `${resource.kind.what} ${name} is being changed by others, try again`,
            { cause: err },
          )
        await look(name)
      }
    }
  }

  return {
    async put(name, decide) {
      checkName(resource.kind.what, name)
      await attempts(name, async (now) => {
        const item = decide(now)
        if (item !== undefined) await write(name, now, item)
      })
    },

    async remove(name, decide) {
      if (!isObjectName(name)) return
      // One that another replica made a moment ago is not known here yet.
      if (known.at(namespace, name) === undefined) await look(name)
      await attempts(name, async (now) => {
        if (now === undefined || !decide(now)) return
        const { uid = '', resourceVersion = '' } = now.object.metadata
        await client.delete(pathOf(name), { uid, resourceVersion }).catch((err: unknown) => {
          if (NsmError.from(err).code !== 'NOT_FOUND') throw err
        })
        known.removed(now.object)
      })
    },
  }
}

/** Somebody was faster: made, changed or removed it. */
function overtaken(code: Code, isKnown: boolean): boolean {
  return code === 'ABORTED' || code === 'ALREADY_EXISTS' || (code === 'NOT_FOUND' && isKnown)
}

/** What the API server says of this registry's rights or of its load is not about the caller's. */
function refused(err: NsmError): NsmError {
  const by = (code: Code): NsmError => new NsmError(code, `kubernetes: ${err.message}`, { cause: err })
  if (!(err.message.startsWith('GET ') || /^(?:POST|PUT|DELETE|PATCH) /.test(err.message))) return err
  if (err.code === 'PERMISSION_DENIED' || err.code === 'NOT_FOUND') return by('FAILED_PRECONDITION')
  if (err.code === 'RESOURCE_EXHAUSTED' || err.code === 'DEADLINE_EXCEEDED') return by('UNAVAILABLE')
  return by(err.code)
}

function checkName(what: string, name: string): void {
  if (isObjectName(name)) return
  throw new NsmError(
    'INVALID_ARGUMENT',
    `${what} ${name} cannot be the name of a Kubernetes object: at most 253 characters of a-z, 0-9, - and ., each part between dots begins and ends with a letter or digit`,
  )
}

import type { Connection } from '@nsm/api/gen/connection.js'
import type { Native } from '@nsm/native/surface.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import { formatInodeUrl, type InodeId } from '@nsm/sdk/descriptors.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { turns } from '@nsm/sdk/registry/turns.js'
import { findNamespace } from './namespaces.ts'
import { unwire, wire, type End, type Ends } from './wire.ts'

/** Where one end is, without holding it. */
interface Place {
  readonly netns: InodeId
  readonly name: string
  readonly alias: string
}

interface Wired {
  readonly client: Place
  readonly endpoint: Place
}

/** The links of all connections of a process. */
export interface Links {
  has(id: string): boolean
  /** Makes the connection's link as it is to be; one between other pods goes first. */
  establish(ctx: Ctx, ends: Ends, conn: Connection): Promise<void>
  /** Deletes the connection's link; `fd` is the namespace of one of its ends, if the call has one. */
  remove(ctx: Ctx, id: string, fd: number | undefined): Promise<void>
  /** Aliases of all of them. */
  aliases(): ReadonlySet<string>
}

/** Calls that may wait for the tables of one pod. */
const maxWaiting = 256

export function links(native: Native): Links {
  const connections = new Map<string, Wired>()
  /** Interfaces on which a call works, so that two connections never make one. */
  const busy = new Set<string>()
  /** Policies of two connections of one pod must not choose the same routing table. */
  const tables = turns(maxWaiting)

  async function wireInTurn(ctx: Ctx, ends: Ends, isKnown: boolean): Promise<void> {
    const { wanted, netns } = ends.client
    const body = async (): Promise<void> => wire(ctx, native, ends, isKnown)
    if (wanted.policies.length === 0) return body()
    await tables.run(formatInodeUrl(netns), ctx.signal, body)
  }

  return {
    has: (id) => connections.has(id),

    async establish(ctx, ends, { id }) {
      const wired: Wired = { client: placeOf(ends.client), endpoint: placeOf(ends.endpoint) }
      const known = connections.get(id)
      if (known !== undefined && !isSame(known, wired)) await removeLink(ctx, native, known, undefined)
      refuseTaken(connections, id, wired)
      await alone(busy, wired, () => wireInTurn(ctx, ends, known !== undefined))
      connections.set(id, wired)
    },

    async remove(ctx, id, fd) {
      const known = connections.get(id)
      connections.delete(id)
      if (known !== undefined) await removeLink(ctx, native, known, fd)
    },

    aliases: () =>
      new Set([...connections.values()].flatMap(({ client, endpoint }) => [client.alias, endpoint.alias])),
  }
}

/** By whichever end can be reached: the call's own descriptor, else those of the processes that can be seen. */
async function removeLink(
  ctx: Ctx,
  native: Native,
  { client, endpoint }: Wired,
  fd: number | undefined,
): Promise<void> {
  for (const place of [client, endpoint]) {
    if (fd === undefined || !isAt(native, fd, place.netns)) continue
    await unwire(native, fd, place)
    return
  }
  for (const place of [client, endpoint]) {
    const found = await findNamespace(native, place.netns)
    if (found === undefined) continue
    try {
      await unwire(native, found, place)
      return
    } finally {
      native.close(found)
    }
  }
  ctx.log.debug({ interface: client.name }, 'namespaces of a closed link are gone or cannot be seen')
}

function placeOf({ netns, link }: End): Place {
  return { netns, name: link.name, alias: link.alias }
}

function isAt(native: Native, fd: number, { dev, inode }: InodeId): boolean {
  const info = native.describe(fd)
  return info.dev === dev && info.inode === inode
}

function keyOf({ netns, name }: Place): string {
  return `${netns.dev}/${netns.inode} ${name}`
}

function isSame(a: Wired, b: Wired): boolean {
  return keyOf(a.client) === keyOf(b.client) && keyOf(a.endpoint) === keyOf(b.endpoint)
}

/** Two connections never share an interface. */
function refuseTaken(connections: ReadonlyMap<string, Wired>, id: string, { client, endpoint }: Wired): void {
  const wanted = new Set([keyOf(client), keyOf(endpoint)])
  for (const [other, wired] of connections) {
    if (other === id) continue
    for (const place of [wired.client, wired.endpoint]) {
      if (!wanted.has(keyOf(place))) continue
      throw new NsmError(
        'FAILED_PRECONDITION',
        `interface ${place.name} belongs to another connection already`,
      )
    }
  }
}

async function alone<T>(busy: Set<string>, { client, endpoint }: Wired, body: () => Promise<T>): Promise<T> {
  const keys = [keyOf(client), keyOf(endpoint)]
  if (keys.some((one) => busy.has(one))) {
    throw new NsmError('ABORTED', `interface ${client.name} is being made for another connection`)
  }
  keys.forEach((one) => busy.add(one))
  try {
    return await body()
  } finally {
    keys.forEach((one) => busy.delete(one))
  }
}

import type { Change, LinkInfo, NamespaceState, Native } from '@nsm/native/surface.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import type { InodeId } from '@nsm/sdk/descriptors.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { isNativeError, wiringError } from './failure.ts'
import { plan, planRemoval, type WantedLink } from './plan.ts'
import type { Side, WantedSide } from './side.ts'

/** The functions of the addon that wiring uses. */
export type WiringFunctions = Pick<Native, 'createVeth' | 'apply' | 'read' | 'deleteLinks'>

/** One end of a connection's link. */
export interface End {
  readonly side: Side
  /** Its network namespace, open during the call. */
  readonly fd: number
  readonly netns: InodeId
  readonly link: WantedLink
  readonly wanted: WantedSide
}

export interface Ends {
  readonly client: End
  readonly endpoint: End
}

const everything = ['links', 'addresses', 'routes', 'rules', 'neighbours'] as const

type States = readonly [client: NamespaceState, endpoint: NamespaceState]

/**
 * Makes the link of a connection as it is to be: new, or what is there adopted, or what differs changed.
 * A new one that can't be finished, or whose caller went away, is taken back whole.
 */
export async function wire(ctx: Ctx, native: WiringFunctions, ends: Ends, isKnown: boolean): Promise<void> {
  if (isKnown) {
    const states = await readBoth(native, ends)
    if (isLinked(ends, states)) return configure(native, ends, states, false)
  }
  const [created, ...states] = await Promise.allSettled([
    create(native, ends),
    read(native, ends.client),
    read(native, ends.endpoint),
  ])
  if (created.status === 'fulfilled') return finish(ctx, native, ends, states)
  if (!isNativeError(created.reason) || created.reason.code !== 'EEXIST') {
    throw wiringError(created.reason, 'the link cannot be made')
  }
  const found = await readBoth(native, ends)
  if (isLinked(ends, found)) return configure(native, ends, found, true)
  await removeStale(native, ends)
  await create(native, ends).catch((reason: unknown) => {
    throw wiringError(reason, 'the link cannot be made')
  })
  return finish(
    ctx,
    native,
    ends,
    await Promise.allSettled([read(native, ends.client), read(native, ends.endpoint)]),
  )
}

/** Takes the link away by one of its ends, if it is there and this connection's; answers whether it was. */
export async function unwire(
  native: WiringFunctions,
  fd: number,
  link: Pick<WantedLink, 'name' | 'alias'>,
): Promise<boolean> {
  const state = await native.read(fd, ['links', 'routes', 'rules'])
  const found = state.links.find(({ name }) => name === link.name)
  if (found?.alias !== link.alias) return false
  const rules = planRemoval(link.name, state)
  if (rules.length > 0) await native.apply(fd, rules)
  await native.deleteLinks(fd, [link.name])
  return true
}

function create(native: WiringFunctions, { client, endpoint }: Ends): Promise<void> {
  const { mtu, group } = client.link
  const end = ({ fd, link }: End) => ({ netnsFd: fd, name: link.name, mac: link.mac })
  return native.createVeth({ a: end(client), b: end(endpoint), mtu, group })
}

async function finish(
  ctx: Ctx,
  native: WiringFunctions,
  ends: Ends,
  results: readonly PromiseSettledResult<NamespaceState>[],
): Promise<void> {
  try {
    const [client, endpoint] = results.map(valueOf)
    if (client === undefined || endpoint === undefined) throw new NsmError('INTERNAL', 'two states are read')
    await configure(native, ends, [withLink(client, ends.client), withLink(endpoint, ends.endpoint)], true)
    ctx.signal.throwIfAborted()
  } catch (reason) {
    await rollBack(ctx, native, ends)
    throw wiringError(reason, 'the link cannot be set up')
  }
}

/** A state that was read while the link was being made may show it or not; it is there, with what its message said. */
function withLink(state: NamespaceState, { link }: End): NamespaceState {
  const others = state.links.filter(({ name }) => name !== link.name)
  const made: LinkInfo = { ...emptyLink, ...link, alias: '' }
  return { ...state, links: [...others, made] }
}

const emptyLink = {
  index: 0,
  kind: 'veth',
  up: false,
  peerIndex: 0,
  rxBytes: 0,
  txBytes: 0,
  rxPackets: 0,
  txPackets: 0,
} as const

async function configure(native: WiringFunctions, ends: Ends, states: States, isNew: boolean): Promise<void> {
  // Both plans before any change: what the context asks for wrongly changes nothing.
  const client = plan(ends.client.link, ends.client.wanted, states[0], isNew)
  const endpoint = plan(ends.endpoint.link, ends.endpoint.wanted, states[1], isNew)
  const results = await Promise.allSettled([
    apply(native, ends.client, client),
    apply(native, ends.endpoint, endpoint),
  ])
  for (const result of results) valueOf(result)
}

async function apply(native: WiringFunctions, { fd, side }: End, changes: readonly Change[]): Promise<void> {
  if (changes.length === 0) return
  try {
    await native.apply(fd, changes)
  } catch (reason) {
    if (isNativeError(reason) && isWithoutIpv6(reason.failures ?? [], changes)) return
    throw wiringError(reason, `the ${side}'s interface cannot be set up`)
  }
}

/** Whether all that failed is a setting against router advertisements, on a node that has no IPv6. */
function isWithoutIpv6(
  failures: readonly { readonly index: number; readonly error: { readonly code: string } }[],
  changes: readonly Change[],
): boolean {
  return (
    failures.length > 0 &&
    failures.every(({ index, error }) => {
      const change = changes[index]
      return error.code === 'ENOENT' && change?.op === 'sysctl' && change.name.endsWith('.accept_ra')
    })
  )
}

/** Whether both ends are there, of this connection, and of one link. */
function isLinked({ client, endpoint }: Ends, [atClient, atEndpoint]: States): boolean {
  const [a, b] = [linkOf(client, atClient), linkOf(endpoint, atEndpoint)]
  if (a === undefined || b === undefined) return false
  const isVeth = a.kind === 'veth' && b.kind === 'veth'
  const isOurs = isOf(a, client) && isOf(b, endpoint)
  return isVeth && isOurs && a.peerIndex === b.index && b.peerIndex === a.index
}

/**
 * Removes what an earlier life of this very connection left under the names; with the client's end its other end goes,
 * whatever forwarder made it. @throws NsmError FAILED_PRECONDITION for anything else.
 */
async function removeStale(native: WiringFunctions, { client, endpoint }: Ends): Promise<void> {
  for (const end of [client, endpoint]) {
    const link = linkOf(end, await native.read(end.fd, ['links']))
    if (link === undefined) continue
    if (!isOf(link, end)) {
      throw new NsmError(
        'FAILED_PRECONDITION',
        `interface ${link.name} of the ${end.side} exists already and is not this connection's`,
      )
    }
    await native.deleteLinks(end.fd, [link.name])
  }
}

/** A link of ours without alias was being made when its forwarder died. */
function isOf(link: LinkInfo, end: End): boolean {
  return link.alias === end.link.alias || (link.alias === '' && link.group === end.link.group)
}

function linkOf({ link }: End, state: NamespaceState): LinkInfo | undefined {
  return state.links.find(({ name }) => name === link.name)
}

async function rollBack(ctx: Ctx, native: WiringFunctions, { client }: Ends): Promise<void> {
  try {
    const rules = client.wanted.policies.length === 0 ? [] : await rulesOf(native, client)
    if (rules.length > 0) await native.apply(client.fd, rules)
    await native.deleteLinks(client.fd, [client.link.name])
  } catch (err) {
    ctx.log.warn({ interface: client.link.name, err: String(err) }, 'link of a failed request not removed')
  }
}

async function rulesOf(native: WiringFunctions, { fd, link }: End): Promise<Change[]> {
  return planRemoval(link.name, await native.read(fd, ['routes', 'rules']))
}

async function readBoth(native: WiringFunctions, { client, endpoint }: Ends): Promise<States> {
  return Promise.all([read(native, client), read(native, endpoint)])
}

async function read(native: WiringFunctions, { fd, side }: End): Promise<NamespaceState> {
  try {
    return await native.read(fd, everything)
  } catch (reason) {
    throw wiringError(reason, `the ${side}'s network namespace cannot be read`)
  }
}

function valueOf<T>(result: PromiseSettledResult<T>): T {
  if (result.status === 'rejected') throw result.reason
  return result.value
}

import type { Change, LinkInfo, NamespaceState, Native } from '@nsm/native/surface.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import type { InodeId } from '@nsm/sdk/descriptors.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { wiringError } from './failure.ts'
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
  /** What an upstream forwarder called this end, whose place this one may have taken. */
  readonly upstreamAlias: string
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
  const states = await readBoth(native, ends)
  if (isLinked(ends, states)) return configure(native, ends, states, !isKnown)
  const isStale =
    linkOf(ends.client, states[0]) !== undefined || linkOf(ends.endpoint, states[1]) !== undefined
  if (isStale) await removeStale(native, ends)
  await create(native, ends, isStale ? await readBoth(native, ends) : states)
  if (!ctx.signal.aborted) return
  await takeBack(ctx, native, ends.client)
  throw NsmError.from(ctx.signal.reason)
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

async function create(native: WiringFunctions, { client, endpoint }: Ends, states: States): Promise<void> {
  const end = ({ fd, link, wanted }: End, state: NamespaceState) => ({
    netnsFd: fd,
    name: link.name,
    mac: link.mac,
    changes: plan(link, wanted, withLink(state, link), true),
  })
  const { mtu, group } = client.link
  const [a, b] = [end(client, states[0]), end(endpoint, states[1])]
  try {
    await native.createVeth({ a, b, mtu, group })
  } catch (reason) {
    const rules = a.changes.flatMap((change): Change[] =>
      change.op === 'rule' ? [{ ...change, op: 'delete-rule' }] : [],
    )
    if (rules.length > 0) await native.apply(client.fd, rules).catch(() => undefined)
    throw wiringError(reason, 'the link cannot be made')
  }
}

/** The state as it is when the pair has just been made: its end is there, with what its message said. */
function withLink(state: NamespaceState, link: WantedLink): NamespaceState {
  const { name, mtu, mac, group } = link
  return { ...state, links: [...state.links, { ...newLink, name, mtu, mac, group }] }
}

const newLink = {
  index: 0,
  kind: 'veth',
  alias: '',
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
  await native.apply(fd, changes).catch((reason: unknown) => {
    throw wiringError(reason, `the ${side}'s interface cannot be set up`)
  })
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
    if (!isOf(link, end) && link.alias !== end.upstreamAlias) {
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

async function takeBack(ctx: Ctx, native: WiringFunctions, { fd, link }: End): Promise<void> {
  await unwire(native, fd, link).catch((err: unknown) => {
    ctx.log.warn({ interface: link.name, err: String(err) }, 'link of a cancelled request not removed')
  })
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

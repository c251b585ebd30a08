import { mechanismParameters } from '@nsm/api/constants.js'
import type { Mechanism } from '@nsm/api/gen/connection.js'
import { ConnectionContext } from '@nsm/api/gen/connectioncontext.js'
import type { Native } from '@nsm/native/surface.js'
import { connectionOf, type Element } from '@nsm/sdk/chain.js'
import { detached, key, valueOf, withValue, type Ctx, type Key } from '@nsm/sdk/ctx.js'
import { callDescriptors } from '@nsm/sdk/elements/call-descriptors.js'
import { remoteOfCall } from '@nsm/sdk/elements/dial.js'
import { endsOf, named } from './ends.ts'
import { hostNamespace } from './namespaces.ts'
import { linkGroup } from './link-names.ts'
import { links } from './links.ts'
import { mtuOf } from './side.ts'

export interface KernelWiring {
  /** On the caller's side, inside `mechanisms`, before the client half. */
  readonly server: Element
  /** In the client half, behind `mechanismTranslation` and before `recvFdClient`. */
  readonly client: Element
  /** Aliases of the links of all connections. */
  owned(): ReadonlySet<string>
}

export interface KernelWiringOptions {
  readonly native: Native
  /** Of this forwarder: its links carry a group of their own. */
  readonly forwarderName: string
}

/** Filled by the client half, for the server half of the same call. */
interface EndpointSide {
  mechanism: Mechanism | undefined
  /** A Close without the client: its link is to be found at the endpoint. */
  readonly isNeeded: boolean
  /** The endpoint's network namespace then, as the kernel names it; the server half closes it. */
  fd: number | undefined
}

const endpointSide: Key<EndpointSide> = key('mechanism of the endpoint side')

/** Tells the server half which mechanism the endpoint has answered. */
const remembering: Element = {
  name: 'kernel wiring client',

  async request(ctx, req, next) {
    const answer = await next.request(ctx, req)
    const side = valueOf(ctx, endpointSide)
    if (side !== undefined) side.mechanism = answer.mechanism
    return answer
  },

  async close(ctx, conn, next) {
    const side = valueOf(ctx, endpointSide)
    if (side?.isNeeded === true) side.fd = await netnsOfNextHop(ctx)
    await next.close(ctx, conn)
  },
}

/**
 * Wires the mechanism KERNEL on one node (wire contract §6.2): when the endpoint has answered, one veth pair, its ends straight in
 * the two pods. A refresh changes what differs and brings back what is missing; Close deletes.
 * Namespaces are those that the call's descriptors stand for, and nothing is held when the call is over.
 */
export function kernelWiring({ native, forwarderName }: KernelWiringOptions): KernelWiring {
  const group = linkGroup(forwarderName)
  const all = links(native)
  const host = hostNamespace(native)
  const server: Element = {
    name: 'kernel wiring',

    async request(ctx, req, next) {
      const asked = connectionOf(req)
      if (asked.mechanism?.type !== 'KERNEL') return next.request(ctx, req)
      const mechanism = named(asked, asked.mechanism, 'client')
      const other: EndpointSide = { mechanism: undefined, isNeeded: false, fd: undefined }
      const answer = await next.request(withValue(ctx, endpointSide, other), {
        ...req,
        connection: { ...asked, mechanism },
      })
      try {
        const mtu = mtuOf(answer)
        if (!all.has(asked.id)) tellMissing(ctx, asked.id, other.mechanism)
        await all.establish(
          ctx,
          endsOf(ctx, { native, host, group, mtu }, answer, [mechanism, other.mechanism]),
          answer,
        )
        return { ...answer, context: { ...(answer.context ?? ConnectionContext.fromPartial({})), MTU: mtu } }
      } catch (err) {
        if (!all.has(asked.id)) {
          await next.close(detached(ctx), answer).catch((cause: unknown) => {
            ctx.log.warn({ connection_id: asked.id, err: String(cause) }, 'close after failed wiring failed')
          })
        }
        throw err
      }
    },

    async close(ctx, conn, next) {
      const url = conn.mechanism?.parameters[mechanismParameters.inodeUrl] ?? ''
      const own = callDescriptors(ctx)?.byFileUrl(url)?.fd
      const other: EndpointSide = { mechanism: undefined, isNeeded: own === undefined, fd: undefined }
      try {
        await next.close(withValue(ctx, endpointSide, other), conn)
      } finally {
        await all.remove(ctx, conn.id, own ?? other.fd).catch((err: unknown) => {
          ctx.log.warn(
            { connection_id: conn.id, err: String(err) },
            'link of a closed connection not removed',
          )
        })
        if (other.fd !== undefined) native.close(other.fd)
      }
    },
  }

  return { server, client: remembering, owned: () => all.aliases() }
}

/** Undefined when the next hop is elsewhere, or the kernel cannot tell. */
async function netnsOfNextHop(ctx: Ctx): Promise<number | undefined> {
  try {
    return await remoteOfCall(ctx).peer.descriptors?.peerNetns()
  } catch (err) {
    ctx.log.debug({ err: String(err) }, "the endpoint's network namespace can't be told")
    return undefined
  }
}

/** What the endpoint wants and does not get; its connection may still be of use. */
function tellMissing(ctx: Ctx, id: string, mechanism: Mechanism | undefined): void {
  if (!mechanism?.parameters[mechanismParameters.ipTables4NatTemplate]) return
  ctx.log.warn(
    { connection_id: id },
    'the endpoint wants address translation by IPTables4NatTemplate, which this forwarder does not do',
  )
}

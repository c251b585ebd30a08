import { mechanismParameters } from '@nsm/api/constants.js'
import { interfaceNameFault } from '@nsm/api/interface-name.js'
import type { Connection, Mechanism } from '@nsm/api/gen/connection.js'
import type { Native } from '@nsm/native/surface.js'
import type { Ctx } from '@nsm/sdk/ctx.js'
import type { DescriptorInfo, InodeId } from '@nsm/sdk/descriptors.js'
import { callDescriptors } from '@nsm/sdk/elements/call-descriptors.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { newInterfaceName } from '@nsm/sdk/interface-name.js'
import { linkAlias, linkMac, upstreamAlias } from './link-names.ts'
import { macOf, wantedSide, type Side } from './side.ts'
import type { End, Ends } from './wire.ts'

/** What both ends share. */
export interface Common {
  readonly native: Native
  /** The machine's own network namespace, which no pod's interface may be put into; undefined = it cannot be told. */
  readonly host: InodeId | undefined
  readonly group: number
  readonly mtu: number
}

/** Both ends of an answered connection's link. @throws NsmError when one of them cannot be wired. */
export function endsOf(
  ctx: Ctx,
  common: Common,
  conn: Connection,
  [atClient, atEndpoint]: readonly [Mechanism, Mechanism | undefined],
): Ends {
  if (atEndpoint?.type !== 'KERNEL') {
    throw new NsmError(
      'FAILED_PRECONDITION',
      `the endpoint chose mechanism ${atEndpoint?.type ?? 'none'}, which cannot be wired to KERNEL`,
    )
  }
  const macs = {
    client: macOf(conn, 'client') ?? linkMac(conn, 'client'),
    endpoint: macOf(conn, 'endpoint') ?? linkMac(conn, 'endpoint'),
  }
  const end = (side: Side, mechanism: Mechanism): End => {
    const { fd, netns } = netnsOf(ctx, common, side, mechanism)
    const name = mechanism.parameters[mechanismParameters.name] ?? ''
    const { group, mtu } = common
    return {
      side,
      fd,
      netns,
      link: { name, alias: linkAlias(conn, side), mtu, mac: macs[side], group },
      upstreamAlias: upstreamAlias(conn, side),
      wanted: wantedSide(conn, side, mechanism, macs[side === 'client' ? 'endpoint' : 'client']),
    }
  }
  return { client: end('client', atClient), endpoint: end('endpoint', named(conn, atEndpoint, 'endpoint')) }
}

/** The mechanism with a name that an interface of ours may have. @throws NsmError INVALID_ARGUMENT */
export function named(conn: Connection, mechanism: Mechanism, side: Side): Mechanism {
  const given =
    mechanism.parameters[mechanismParameters.name] || newInterfaceName(conn.networkService, conn.id)
  const fault = interfaceNameFault(given)
  if (fault !== undefined) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `mechanism parameter name of the ${side} must be ${fault}, not ${JSON.stringify(given.slice(0, 40))}`,
    )
  }
  return { ...mechanism, parameters: { ...mechanism.parameters, [mechanismParameters.name]: given } }
}

/** The namespace that this call has a descriptor of. @throws NsmError when there is none or it may not be wired. */
function netnsOf(
  ctx: Ctx,
  { native, host }: Common,
  side: Side,
  mechanism: Mechanism,
): { fd: number; netns: InodeId } {
  const url = mechanism.parameters[mechanismParameters.inodeUrl] ?? ''
  const fd = callDescriptors(ctx)?.byFileUrl(url)?.fd
  if (fd === undefined) {
    throw new NsmError(
      'FAILED_PRECONDITION',
      `no descriptor of the ${side}'s network namespace came with mechanism parameter inodeURL ${JSON.stringify(url.slice(0, 100))}`,
    )
  }
  const info = native.describe(fd)
  const fault = faultOf(info, host)
  if (fault !== undefined) {
    throw new NsmError('PERMISSION_DENIED', `mechanism parameter inodeURL of the ${side} is ${fault}`)
  }
  return { fd, netns: { dev: info.dev, inode: info.inode } }
}

/** What a descriptor is that is no pod's network namespace. */
function faultOf(
  { kind, isOwnNetns, dev, inode }: DescriptorInfo,
  host: InodeId | undefined,
): string | undefined {
  if (isOwnNetns) return "this process' own network namespace"
  if (host?.dev === dev && host.inode === inode) return "the machine's own network namespace"
  return kind === 'netns' ? undefined : `a ${kind}`
}

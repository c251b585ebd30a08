import { createHash } from 'node:crypto'
import type { Connection } from '@nsm/api/gen/connection.js'
import type { Side } from './side.ts'

/** What begins the alias of every link of ours. */
export const aliasPrefix = 'nsm:'
/** Ids of others' making; longer or stranger ones appear as their digest. */
const plainId = /^[\w.@-]{1,100}$/

/**
 * IFLA_GROUP of a forwarder's links: tells its links from those of other forwarders that see the same namespaces.
 * Made from its name, so that it finds them again after a restart.
 */
export function linkGroup(forwarderName: string): number {
  return 0x6e00_0000 + createHash('sha256').update(forwarderName).digest().readUIntBE(0, 3)
}

/**
 * The alias of one end. In the client's namespace the client's own id counts, so that a link is known again whichever forwarder
 * made it; in the endpoint's, where other clients' links are, the forwarder's id, which no client can choose.
 */
export function linkAlias(conn: Connection, side: Side): string {
  const id = side === 'client' ? (conn.path?.pathSegments[0]?.id ?? conn.id) : conn.id
  return `${aliasPrefix}${plainId.test(id) ? id : digestOf(id)}:${side}`
}

/** A hardware address that stays the same when the link has to be made again; locally administered. */
export function linkMac(conn: Connection, side: Side): string {
  const bytes = createHash('sha256').update(`${conn.id} ${side}`).digest().subarray(0, 5)
  return ['02', ...[...bytes].map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

function digestOf(id: string): string {
  return createHash('sha256').update(id).digest('hex')
}

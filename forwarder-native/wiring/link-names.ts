import { createHash } from 'node:crypto'
import type { Connection } from '@nsm/api/gen/connection.js'
import type { Side } from './side.ts'

/** What begins the aliases of links: of ours, and of those that upstream's forwarders make. */
const prefixes = { ours: 'nsm:', upstreamClient: 'server-', upstreamEndpoint: 'client-' } as const
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
 * The alias of one end. In the client's namespace it is the one that upstream's forwarders give (wire contract §6.2), so that
 * a link is known again, and replaced, whichever forwarder made it; in the endpoint's, where other clients' links are, it has the
 * forwarder's id, which no client can choose.
 */
export function linkAlias(conn: Connection, side: Side): string {
  if (side === 'client') return `${prefixes.upstreamClient}${aliasId(clientIdOf(conn))}`
  return `${prefixes.ours}${aliasId(conn.id)}:${side}`
}

/** The alias that an upstream forwarder gives one end. */
export function upstreamAlias(conn: Connection, side: Side): string {
  return `${side === 'client' ? prefixes.upstreamClient : prefixes.upstreamEndpoint}${aliasId(clientIdOf(conn))}`
}

/** Whether a link with this alias belongs to a mesh, whoever made it. */
export function isMeshAlias(alias: string): boolean {
  return Object.values(prefixes).some((prefix) => alias.startsWith(prefix))
}

function clientIdOf({ id, path }: Connection): string {
  return path?.pathSegments[0]?.id ?? id
}

function aliasId(id: string): string {
  return plainId.test(id) ? id : digestOf(id)
}

/** A hardware address that stays the same when the link has to be made again; locally administered. */
export function linkMac(conn: Connection, side: Side): string {
  const bytes = createHash('sha256').update(`${conn.id} ${side}`).digest().subarray(0, 5)
  return ['02', ...[...bytes].map((byte) => byte.toString(16).padStart(2, '0'))].join(':')
}

function digestOf(id: string): string {
  return createHash('sha256').update(id).digest('hex')
}

import type { Clock } from '@nsm/sdk/clock.js'
import { dnsOff, type DnsStatus } from './dns/status.ts'
import {
  carriesPackets,
  reduce,
  requested,
  type ConnectionStatus,
  type SidecarStatus,
  type StatusEvent,
} from './status.ts'

/** One change, as listeners hear it. */
export interface StatusChange {
  /** Counts from 1. */
  readonly sequence: number
  /** ISO 8601. */
  readonly at: string
  readonly type: StatusEvent['type']
  readonly connection: ConnectionStatus
}

/** The state of all connections: what happens goes in, anybody may look. */
export interface StatusBoard {
  apply(event: StatusEvent): void
  read(): SidecarStatus
  /** The latest changes, oldest first; at most 100. */
  recent(): readonly StatusChange[]
  /** Hears every change from now on; the answer stops it. */
  subscribe(listener: (change: StatusChange) => void): () => void
}

/** What is to be connected. */
export interface Wish {
  readonly id: string
  readonly networkService: string
  readonly labels: Readonly<Record<string, string>>
}

const maxRecent = 100

/** A board on which every wish has just been requested. */
export function statusBoard(
  about: {
    readonly name: string
    readonly spiffeId: () => string | null
    readonly dns?: () => DnsStatus
  },
  wishes: readonly Wish[],
  clock: Clock,
): StatusBoard {
  const connections = new Map(wishes.map((wish) => [wish.id, requested(wish, clock.now())]))
  const listeners = new Set<(change: StatusChange) => void>()
  const recent: StatusChange[] = []
  let sequence = 0

  return {
    apply(event) {
      const before = connections.get(event.id)
      if (before === undefined) return
      const connection = reduce(before, event, clock.now())
      connections.set(event.id, connection)
      const at = new Date(clock.now()).toISOString()
      const change: StatusChange = { sequence: ++sequence, at, type: event.type, connection }
      recent.push(change)
      if (recent.length > maxRecent) recent.shift()
      for (const listener of listeners) listener(change)
    },
    read() {
      const dns = about.dns?.() ?? dnsOff
      const all = [...connections.values()].map((connection) => withDnsErrors(connection, dns))
      return {
        name: about.name,
        spiffeId: about.spiffeId(),
        ready: all.every(carriesPackets),
        connections: all,
        dns,
      }
    },
    recent: () => [...recent],
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

function withDnsErrors(connection: ConnectionStatus, { servers }: DnsStatus): ConnectionStatus {
  if (connection.dns.length === 0) return connection
  const dns = connection.dns.map((config) => {
    const faults = servers.flatMap(({ address, lastError }) =>
      lastError !== null && config.servers.includes(address) ? [[address, lastError] as const] : [],
    )
    return { ...config, lastErrors: Object.fromEntries(faults) }
  })
  return { ...connection, dns }
}

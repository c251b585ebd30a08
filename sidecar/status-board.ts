import type { Clock } from '@nsm/sdk/clock.js'
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
  identity: { readonly name: string; readonly spiffeId: () => string | null },
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
      const all = [...connections.values()]
      return {
        name: identity.name,
        spiffeId: identity.spiffeId(),
        ready: all.every(carriesPackets),
        connections: all,
      }
    },
    recent: () => [...recent],
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

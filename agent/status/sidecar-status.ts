/** What a sidecar says of one connection, as far as it is of use here. */
export interface SidecarConnection {
  readonly id: string
  readonly networkService: string
  readonly state: string
  readonly reason: string
  readonly message: string
  /** When the state last changed, ms since the epoch. */
  readonly sinceMs: number
  readonly interface: string
  readonly endpoint: string
  readonly addresses: readonly string[]
  readonly lastHeal: { readonly cause: string; readonly ms: number } | undefined
}

/** More are not followed: what a pod says costs memory here. */
export const maxConnections = 64
const maxText = 1024

/** What one event of a sidecar tells. */
export interface StatusNews {
  readonly connections: readonly SidecarConnection[]
  /** These are all there are. */
  readonly isWhole: boolean
}

/** Reads an event's data: all connections (`status`), or the one that changed (`change`). Leaves out what makes no sense. */
export function newsIn(event: string, data: string): StatusNews {
  const value = objectOf(parsed(data))
  const isWhole = event === 'status'
  const found = isWhole ? value['connections'] : event === 'change' ? [value['connection']] : []
  if (!Array.isArray(found)) return { connections: [], isWhole: false }
  const connections = found
    .slice(0, maxConnections)
    .flatMap((one: unknown) => connectionOf(objectOf(one)) ?? [])
  return { connections, isWhole }
}

/** Whether packets pass, as far as the sidecar knows. */
export function carriesPackets({ state, reason }: SidecarConnection): boolean {
  return state === 'UP' || (state === 'HEALING' && reason === 'ControlPlaneLost')
}

function connectionOf(value: Fields): SidecarConnection | undefined {
  const id = textOf(value['id'])
  const state = textOf(value['state'])
  if (id === '' || state === '') return undefined
  const last = objectOf(objectOf(value['heals'])['last'])
  const addresses = Array.isArray(value['addresses']) ? value['addresses'].slice(0, 8).map(textOf) : []
  return {
    id,
    state,
    networkService: textOf(value['networkService']),
    reason: textOf(value['reason']),
    message: textOf(value['message']),
    sinceMs: Date.parse(textOf(value['since'])) || 0,
    interface: textOf(value['interface']),
    endpoint: textOf(value['endpoint']),
    addresses,
    lastHeal: typeof last['ms'] === 'number' ? { cause: textOf(last['cause']), ms: last['ms'] } : undefined,
  }
}

type Fields = Readonly<Record<string, unknown>>

function parsed(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    return undefined
  }
}

function objectOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value.slice(0, maxText) : ''
}

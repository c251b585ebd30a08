import type { Connection } from '@nsm/api/gen/connection.js'
import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { connectionOf, type Element } from '../chain.ts'
import { background, valueOf, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import { matchEndpoints, type Labels } from '../match/selectors.ts'
import { sleep } from '../sleep.ts'
import { connectionEvents, type ConnectionEvents } from './begin.ts'
import type { Registries } from './discover.ts'

interface Watched {
  readonly id: string
  readonly endpoint: string
  readonly labels: Labels
  readonly events: ConnectionEvents
  /** Stops the timer that ends the watch with the path's life. */
  readonly disarm: () => void
}

interface ServiceWatch {
  readonly ctx: Ctx
  readonly connections: Map<string, Watched>
  readonly stop: () => void
  unlinger: () => void
  service: NetworkService | undefined
}

/** Pause before a broken watch is opened again (§5.1). */
const pauseMs = 100
/** How long a watch waits for the next connection of its service, when the last one has left. */
const lingerMs = 5_000

/**
 * Closes a connection from the server's side when its network service changes so that its endpoint does not match any more: the client hears
 * of it and chooses anew (§5.1). One watch serves all connections of a service. Needs `begin` of the server half before it.
 */
export function netsvcMonitor(registries: Registries): Element {
  const services = new Map<string, ServiceWatch>()
  const serviceOf = new Map<string, string>()

  function watchOf(ctx: Ctx, name: string): ServiceWatch {
    const known = services.get(name)
    if (known !== undefined) return known
    const watch = newWatch(ctx)
    services.set(name, watch)
    void follow(registries, name, watch)
    return watch
  }

  function linger(name: string, watch: ServiceWatch): void {
    watch.unlinger = watch.ctx.clock.after(lingerMs, () => {
      watch.stop()
      services.delete(name)
    })
  }

  function leave(id: string): void {
    const name = serviceOf.get(id)
    const watch = name === undefined ? undefined : services.get(name)
    serviceOf.delete(id)
    watch?.connections.get(id)?.disarm()
    watch?.connections.delete(id)
    if (name !== undefined && watch?.connections.size === 0) linger(name, watch)
  }

  function join(ctx: Ctx, asked: Connection, answer: Connection): void {
    const events = valueOf(ctx, connectionEvents)
    if (events === undefined)
      throw new NsmError('INTERNAL', 'the chain has no begin element before netsvcmonitor')
    const { id, networkService: name, labels } = asked
    const watch = watchOf(ctx, name)
    watch.unlinger()
    const endpoint = answer.networkServiceEndpointName
    const before = watch.connections.get(id)
    if (before === undefined) leave(id)
    before?.disarm()
    const lifeMs = Math.max(0, nearestExpiryMs(answer) - ctx.clock.now())
    const disarm = Number.isFinite(lifeMs) ? ctx.clock.after(lifeMs, () => leave(id)) : () => undefined
    const watched: Watched = { id, endpoint, labels, events, disarm }
    watch.connections.set(id, watched)
    serviceOf.set(id, name)
    if (before?.endpoint !== endpoint && watch.service !== undefined)
      void check(registries, watch, watch.service, watched)
  }

  return {
    name: 'netsvcmonitor',

    async request(ctx, req, next) {
      const answer = await next.request(ctx, req)
      join(ctx, connectionOf(req), answer)
      return answer
    },

    async close(ctx, conn, next) {
      leave(conn.id)
      await next.close(ctx, conn)
    },
  }
}

function newWatch({ log, clock }: Ctx): ServiceWatch {
  const controller = new AbortController()
  return {
    ctx: background({ log, clock, signal: controller.signal }),
    connections: new Map(),
    stop: () => controller.abort(),
    unlinger: () => undefined,
    service: undefined,
  }
}

async function follow(registries: Registries, name: string, watch: ServiceWatch): Promise<void> {
  const { ctx } = watch
  while (!ctx.signal.aborted) {
    try {
      for await (const service of changes(ctx, registries, name)) {
        await checkAll(registries, watch, service)
      }
    } catch (err) {
      ctx.log.debug({ network_service: name, err: String(err) }, 'watch of network service broke')
    }
    await sleep(ctx, pauseMs).catch(() => undefined)
  }
}

async function checkAll(registries: Registries, watch: ServiceWatch, service: NetworkService): Promise<void> {
  watch.service = service
  for (const watched of watch.connections.values()) await check(registries, watch, service, watched)
}

async function* changes(
  ctx: Ctx,
  { networkServices }: Registries,
  name: string,
): AsyncIterable<NetworkService> {
  const query = { networkService: NetworkService.fromPartial({ name }), watch: true }
  for await (const { networkService, deleted } of networkServices.find(ctx, query))
    if (networkService?.name === name && !deleted) yield networkService
}

/** Never rejects. A service without matches fits every endpoint. */
async function check(
  { networkServiceEndpoints }: Registries,
  { ctx, connections }: ServiceWatch,
  service: NetworkService,
  watched: Watched,
): Promise<void> {
  if (service.matches.length === 0) return
  const query = {
    networkServiceEndpoint: NetworkServiceEndpoint.fromPartial({ name: watched.endpoint }),
    watch: false,
  }
  try {
    for await (const { networkServiceEndpoint: endpoint } of networkServiceEndpoints.find(ctx, query)) {
      if (endpoint?.name !== watched.endpoint) continue
      // An endpoint that has expired is the client's affair, not a matter of the service.
      if (matchEndpoints({ labels: watched.labels, now: -Infinity }, service, [endpoint]).length > 0) return
      ctx.log.info(
        { connection_id: watched.id, network_service: service.name, endpoint: watched.endpoint },
        'endpoint does not match its network service any more, connection is closed',
      )
      await watched.events.close({ when: () => connections.get(watched.id) === watched })
      return
    }
  } catch (err) {
    ctx.log.warn({ connection_id: watched.id, err: String(err) }, 'endpoint of connection not checked')
  }
}

/** Milliseconds since the epoch. */
function nearestExpiryMs(conn: Connection): number {
  const times = conn.path?.pathSegments.map(({ expires }) => expires?.getTime() ?? Infinity) ?? []
  return Math.min(Infinity, ...times.filter((time) => !Number.isNaN(time)))
}

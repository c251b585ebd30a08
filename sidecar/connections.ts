import { State, type Connection } from '@nsm/api/gen/connection.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import type { NsUrl } from '@nsm/api/nsurl.js'
import {
  isRequiredService,
  requiredServicesFault,
  type RequiredServices,
} from '@nsm/api/required-services.js'
import { mechanismClasses, mechanismParameters } from '@nsm/api/constants.js'
import type { NetworkService } from '@nsm/sdk/chain.js'
import { withTimeout, type Ctx } from '@nsm/sdk/ctx.js'
import { NsmError, statusText } from '@nsm/sdk/errors.js'
import { sleep } from '@nsm/sdk/sleep.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import { reselected, resumable } from './resume.ts'
import type { StatusBoard, Wish } from './status-board.ts'

/** What brings the pod's connections up. */
export interface ConnectionsOptions {
  readonly service: NetworkService
  readonly dial: Dial
  /** URL of the node's manager. */
  readonly url: string
  readonly board: StatusBoard
  readonly requestTimeoutMs: number
  /** Whether packets pass; absent = not tested. */
  readonly liveness: ((ctx: Ctx, conn: Connection) => Promise<boolean>) | undefined
}

/** A connection to be made: its wish, and the interface that it asks for. */
export interface Planned extends Wish {
  readonly interfaceName: string | undefined
  /** Whether the pod's start waits for it. */
  readonly isRequired: boolean
}

const retryMs = 200

/** The connections that the URLs ask for; ids are `<name>-<number>` (§4.6). @throws NsmError INVALID_ARGUMENT */
export function plan(
  name: string,
  urls: readonly NsUrl[],
  required: RequiredServices = 'true',
): readonly Planned[] {
  const fault = requiredServicesFault(required, urls)
  if (fault !== undefined) throw new NsmError('INVALID_ARGUMENT', `NSM_REQUIRED ${fault}`)
  return urls.map((url, i) => ({
    id: `${name}-${i}`,
    networkService: url.networkService,
    labels: url.labels,
    interfaceName: url.interfaceName,
    isRequired: isRequiredService(required, url),
  }))
}

/**
 * Requests all connections at once, each until it succeeds, going on with what the manager still has of them (§4.6).
 * @throws NsmError the signal's reason
 */
export async function connectAll(
  ctx: Ctx,
  planned: readonly Planned[],
  options: ConnectionsOptions,
): Promise<void> {
  const found = await stillThere(ctx, planned, options)
  await Promise.all(planned.map((one, i) => connectOne(ctx, one, found[i], options)))
}

/** Closes all connections, as far as the signal leaves time. */
export async function closeAll(
  ctx: Ctx,
  planned: readonly Planned[],
  { service, board }: ConnectionsOptions,
): Promise<void> {
  const close = async ({ id, networkService }: Planned): Promise<void> => {
    const { connection } = NetworkServiceRequest.fromPartial({ connection: { id, networkService } })
    if (connection === undefined) return
    try {
      await service.close(ctx, connection)
      board.apply({ type: 'closed', id })
    } catch (err) {
      ctx.log.warn({ connection_id: id, err: NsmError.from(err).message }, 'not closed, it will expire')
    }
  }
  await Promise.all(planned.map(close))
}

async function stillThere(
  ctx: Ctx,
  planned: readonly Planned[],
  { dial, url, requestTimeoutMs }: ConnectionsOptions,
): Promise<readonly (Connection | undefined)[]> {
  try {
    return await withTimeout(ctx, requestTimeoutMs, async (timed) => {
      const remote = await dial(timed, url)
      try {
        return await Promise.all(planned.map((one) => resumable(timed, remote, one)))
      } finally {
        remote.release()
      }
    })
  } catch (err) {
    if (ctx.signal.aborted) throw err
    ctx.log.info({ url, err: NsmError.from(err).message }, 'nothing to go on with')
    return []
  }
}

async function connectOne(
  ctx: Ctx,
  planned: Planned,
  found: Connection | undefined,
  options: ConnectionsOptions,
): Promise<void> {
  const { service, board, requestTimeoutMs } = options
  const { id } = planned
  let resumed = found === undefined ? undefined : await usable(ctx, found, options)
  if (resumed !== undefined) board.apply({ type: 'resumed', id, connection: resumed })
  let told = ''
  for (;;) {
    try {
      await withTimeout(ctx, requestTimeoutMs, (timed) =>
        service.request(timed, requestFor(planned, resumed)),
      )
      return
    } catch (err) {
      if (ctx.signal.aborted) throw NsmError.from(ctx.signal.reason)
      const failure = NsmError.from(err)
      const { code, message } = failure
      // Every fifth of a second the same would say nothing more: the status counts.
      if (message !== told)
        ctx.log.warn(
          { connection_id: id, network_service: planned.networkService, code, err: statusText(failure) },
          'trying again',
        )
      told = message
      board.apply({ type: 'failed', id, error: message })
      // The same path, so that no old connection stays behind at the manager.
      if (resumed !== undefined) resumed = reselected(resumed)
      await sleep(ctx, retryMs)
    }
  }
}

async function usable(ctx: Ctx, found: Connection, { liveness }: ConnectionsOptions): Promise<Connection> {
  if (found.state !== State.DOWN) return found
  const isAlive = liveness === undefined || (await liveness(ctx, found))
  return isAlive ? found : reselected(found)
}

function requestFor(planned: Planned, resumed: Connection | undefined): NetworkServiceRequest {
  const { id, networkService, labels, interfaceName } = planned
  const parameters = interfaceName === undefined ? {} : { [mechanismParameters.name]: interfaceName }
  return NetworkServiceRequest.fromPartial({
    connection: resumed ?? { id, networkService, labels: { ...labels } },
    mechanismPreferences: [{ cls: mechanismClasses.LOCAL, type: 'KERNEL', parameters }],
  })
}

import { parseToken } from '@nsm/spiffe/es256.js'
import { key, valueOf, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Peer } from '../peer.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import type { TokenGenerator } from '../tokens.ts'
import { incomingCall, tokenHeader } from '../transport/call.ts'
import { registryPath, type RegistryPath } from './registry-path.ts'

/** When the token ends that this process put into the path. */
export const ownTokenExpires: Key<Date> = key('expiry of own registry token')

/**
 * Moves the registry path to this process: the caller's token and one of its own go in, the identities that they
 * name go into `path_ids`; with the answer the index goes back to the caller's (§3.4).
 * Calls that did not come over gRPC pass as they are.
 */
export function updatePath<Item extends RegistryItem, Query, Response>(
  tokens: TokenGenerator,
): RegistryElement<Item, Query, Response> {
  async function moved<T>(ctx: Ctx, item: Item, run: (ctx: Ctx, item: Item) => Promise<T>): Promise<T> {
    const { peer } = ctx
    const cell = valueOf(ctx, registryPath)
    if (peer === undefined || cell === undefined) return run(ctx, item)
    const peerToken = valueOf(ctx, incomingCall)?.requestHeaders.get(tokenHeader) ?? ''
    const own = tokens(peer)
    const before = cell.path.index
    cell.path = advance(cell.path, peerToken, own.token)
    const pathIds = identities(item.pathIds, cell.path, peer)
    const answer = await run(withValue(ctx, ownTokenExpires, own.expires), { ...item, pathIds })
    cell.path = { ...cell.path, index: before }
    return answer
  }

  return {
    name: 'updatepath',
    register: async (ctx, item, next) => moved(ctx, item, (inner, it) => next.register(inner, it)),
    unregister: async (ctx, item, next) => moved(ctx, item, (inner, it) => next.unregister(inner, it)),
  }
}

function advance(path: RegistryPath, peerToken: string, ownToken: string): RegistryPath {
  const { index, segments } = path
  if (index >= Math.max(1, segments.length))
    throw new NsmError(
      'INVALID_ARGUMENT',
      `metadata path has Index ${index} with ${segments.length} segments`,
    )
  const left = [...segments.slice(0, index), { token: peerToken }, { token: ownToken }]
  return { index: index + 1, segments: [...left, ...segments.slice(index + 2)] }
}

/** Everything up to this process is told by tokens and sessions; of what the message says only the rest stays. */
function identities(pathIds: readonly string[], path: RegistryPath, peer: Peer): string[] {
  const before = path.segments
    .slice(0, path.index - 1)
    .map(({ token }, i) => subjectOf(token) ?? pathIds[i] ?? '')
  return [...before, peer.spiffeId, peer.localSvid.id, ...pathIds.slice(path.index + 1)]
}

/** Undefined for what is not a token; policies refuse it. */
function subjectOf(token: string): string | undefined {
  try {
    return parseToken(token).sub
  } catch {
    return undefined
  }
}

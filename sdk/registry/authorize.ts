import { detached, valueOf, type Ctx } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Peer } from '../peer.ts'
import { firstRefusal, readTokens } from '../policies/policy.ts'
import { publicKeyOf } from '../policies/signed-by.ts'
import { Refusal } from '../refusal.ts'
import type { RegistryElement, RegistryItem } from '../registry-chain.ts'
import type { RegistryKind } from './kind.ts'
import { owners, type Owners } from './owners.ts'
import type { RegistryPolicy, RegistryPolicyInput } from './policies.ts'
import { registryPath, type RegistryPath } from './registry-path.ts'

/**
 * Refuses Register and Unregister whose path, up to the own segment, breaks a policy; a name that is registered
 * belongs to the first of its `path_ids` until it is unregistered or has expired (§3.6). Find is not checked.
 * Calls that did not come over gRPC pass. `names` tells whose a name is; default what went through here. @throws Refusal
 */
export function authorizeServer<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  policies: readonly RegistryPolicy[],
  names: Owners = owners(),
): RegistryElement<Item, Query, Response> {
  function check(ctx: Ctx, item: Item): string | undefined {
    if (ctx.peer === undefined) return undefined
    const { path } = valueOf(ctx, registryPath) ?? { path: { index: 0, segments: [] } }
    const left = { ...path, segments: path.segments.slice(0, path.index + 1) }
    const input = inputOf(ctx, left, ctx.peer, names.of(item.name, ctx.clock.now()))
    const reason = firstRefusal(policies, input)
    if (reason !== undefined) throw new Refusal(`${kind.what} ${item.name}: ${reason}`)
    return input.claimant
  }

  return {
    name: 'authorize server',

    async register(ctx, item, next) {
      const claimant = check(ctx, item)
      const undo = claimant === undefined ? undefined : names.claim(item.name, claimant, ctx.clock.now())
      try {
        const answer = await next.register(ctx, item)
        const expiresMs = kind.expirationTime(answer)?.getTime() ?? Infinity
        if (claimant !== undefined) names.confirm(item.name, claimant, expiresMs)
        return answer
      } catch (err) {
        undo?.()
        throw err
      }
    },

    async unregister(ctx, item, next) {
      check(ctx, item)
      await next.unregister(ctx, item)
      names.free(item.name)
    },
  }
}

/**
 * Checks the whole path of each answer to Register, and of the last one before Unregister (§3.6). A new registration that
 * fails is unregistered. Needs `clientPath` before it. @throws NsmError PERMISSION_DENIED
 */
export function authorizeClient<Item extends RegistryItem, Query, Response>(
  kind: RegistryKind<Item, Query, Response>,
  policies: readonly RegistryPolicy[],
): RegistryElement<Item, Query, Response> {
  const registered = new Map<string, string | undefined>()

  function check(ctx: Ctx, name: string): void {
    const cell = valueOf(ctx, registryPath)
    if (cell?.answeredBy === undefined) return
    const reason = firstRefusal(policies, inputOf(ctx, cell.path, cell.answeredBy, registered.get(name)))
    if (reason !== undefined)
      throw new NsmError('PERMISSION_DENIED', `no sufficient privileges: ${kind.what} ${name}: ${reason}`)
  }

  return {
    name: 'authorize client',

    async register(ctx, item, next) {
      const answer = await next.register(ctx, item)
      try {
        check(ctx, item.name)
      } catch (err) {
        if (!registered.has(item.name))
          await next.unregister(detached(ctx), answer).catch((cause: unknown) => {
            ctx.log.warn({ name: item.name, err: String(cause) }, 'unregister after a refused answer failed')
          })
        throw err
      }
      registered.set(item.name, answer.pathIds[0])
      return answer
    },

    async unregister(ctx, item, next) {
      check(ctx, item.name)
      await next.unregister(ctx, item)
      registered.delete(item.name)
    },
  }
}

function inputOf(ctx: Ctx, path: RegistryPath, peer: Peer, owner: string | undefined): RegistryPolicyInput {
  const tokens = readTokens(path.segments.map(({ token }) => token))
  return {
    tokens,
    index: path.index,
    peerKey: publicKeyOf(peer.certificate),
    peerId: peer.spiffeId,
    nowMs: ctx.clock.now(),
    owner,
    claimant: tokens[0]?.claims?.sub,
  }
}

import { statSync } from 'node:fs'
import type { Connection } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element, type NetworkService } from '../chain.ts'
import { key, valueOf, withValue, type Ctx, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Dial, Remote } from '../transport/remote.ts'
import { clientUrl, closeUrl } from './client-url.ts'

const remote: Key<Remote> = key('remote')

/** The session that this call goes over. @throws NsmError INTERNAL when the chain has no `dial` element before. */
export function remoteOfCall(ctx: Ctx): Remote {
  const found = valueOf(ctx, remote)
  if (found === undefined) throw new NsmError('INTERNAL', 'the chain has no dial element')
  return found
}

/** Where a connection's last successful Request went. */
interface Link {
  readonly url: string
  readonly target: string
  readonly remote: Remote
}

/**
 * Gets a session to `clientUrl` for each call and keeps that of the last successful Request until the next one, or until Close.
 *
 * A connection that is to go elsewhere is closed at its old next hop first, but not before there is a session to the new one: a registry may
 * still tell where somebody was before a restart. When the old one cannot be reached any more the Request fails and the next one starts fresh (§4.3).
 */
export function dial(open: Dial): Element {
  const links = new Map<string, Link>()

  function drop(id: string): void {
    links.get(id)?.remote.release()
    links.delete(id)
  }

  return {
    name: 'dial',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const url = valueOf(ctx, clientUrl)
      if (url === undefined) throw new NsmError('INTERNAL', 'nobody chose where to go next')
      const target = targetOf(url)
      const session = await open(ctx, url)
      try {
        const last = links.get(conn.id)
        if (last !== undefined && last.target !== target)
          await leave(open, ctx, { conn, link: last, next }).finally(() => drop(conn.id))
        const answer = await next.request(withValue(ctx, remote, session), req)
        drop(conn.id)
        links.set(conn.id, { url, target, remote: session })
        return answer
      } catch (err) {
        session.release()
        throw err
      }
    },

    async close(ctx, conn, next) {
      const last = links.get(conn.id)
      links.delete(conn.id)
      const alive = last?.remote.closed.aborted === false
      if (!alive) last?.remote.release()
      const session = alive
        ? last.remote
        : await openAnew(open, ctx, last?.url).catch(forgotten(ctx, conn, { link: last, next }))
      if (session === undefined) return
      try {
        await next.close(withValue(ctx, remote, session), conn)
      } finally {
        session.release()
      }
    },
  }
}

async function openAnew(open: Dial, ctx: Ctx, lastUrl: string | undefined): Promise<Remote | undefined> {
  const url = valueOf(ctx, clientUrl) ?? (await valueOf(ctx, closeUrl)?.()) ?? lastUrl
  return url === undefined ? undefined : open(ctx, url)
}

/**
 * For a next hop that cannot be reached any more: the elements behind forget the connection all the same, by a Close over the session
 * that is over. What they remember of it would go to another next hop.
 */
function forgotten(
  ctx: Ctx,
  conn: Connection,
  { link, next }: { readonly link: Link | undefined; readonly next: NetworkService },
): (reason: unknown) => Promise<never> {
  return async (reason) => {
    if (link !== undefined) {
      await next.close(withValue(ctx, remote, link.remote), conn).catch(() => undefined)
    }
    throw reason
  }
}

interface Leaving {
  readonly conn: Connection
  readonly link: Link
  readonly next: NetworkService
}

async function leave(open: Dial, ctx: Ctx, { conn, link, next }: Leaving): Promise<void> {
  const again = link.remote.closed.aborted
  const session = again ? await open(ctx, link.url).catch(forgotten(ctx, conn, { link, next })) : link.remote
  try {
    await next.close(withValue(ctx, remote, session), conn)
  } catch (err) {
    ctx.log.warn(
      { connection_id: conn.id, url: link.url, err: String(err) },
      'close at the old next hop failed',
    )
  } finally {
    if (again) session.release()
  }
}

const descriptorUrl = /^unix:\/\/(\/proc\/\w+\/fd\/\d+)$/

/** A URL that names a descriptor changes with every lookup: such a socket is known by its inode. */
function targetOf(url: string): string {
  const path = descriptorUrl.exec(url)?.[1]
  if (path === undefined) return url
  try {
    const { dev, ino } = statSync(path, { bigint: true })
    return `inode://${dev}/${ino}`
  } catch {
    return url
  }
}

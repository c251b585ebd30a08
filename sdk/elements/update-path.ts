import { randomUUID } from 'node:crypto'
import type { Connection, Path, PathSegment } from '@nsm/api/gen/connection.js'
import { connectionOf, type Element } from '../chain.ts'
import { NsmError } from '../errors.ts'

export interface UpdatePathOptions {
  /** Makes the id of a new segment; default a random UUID. */
  readonly newId?: () => string
}

/** What a path may hold: nobody needs more, and everything on it is kept for the connection's life. */
export const pathLimits = { segments: 32, textBytes: 16_384, totalBytes: 65_536 } as const

/**
 * Steps the connection's path on to the segment of this process, and puts the caller's id and index back into the answer (§3.1).
 *
 * Serves both halves of a process: with one name they share one segment.
 * Refuses with INVALID_ARGUMENT an index outside of the path, a foreign id, and whatever is beyond `pathLimits`.
 */
export function updatePath(name: string, options: UpdatePathOptions = {}): Element {
  const newId = options.newId ?? randomUUID

  return {
    name: 'updatepath',

    async request(ctx, req, next) {
      const { connection, caller } = step(connectionOf(req), name, newId)
      const answer = await next.request(ctx, { ...req, connection })
      const path = answer.path ?? connection.path
      return { ...answer, id: caller.id, path: { pathSegments: [], ...path, index: caller.index } }
    },

    async close(ctx, conn, next) {
      await next.close(ctx, step(conn, name, newId).connection)
    },
  }
}

interface Step {
  readonly connection: Connection
  /** What the caller calls this connection, and where it stands. */
  readonly caller: { readonly id: string; readonly index: number }
}

function step(conn: Connection, name: string, newId: () => string): Step {
  const path: Path = conn.path ?? { index: 0, pathSegments: [] }
  checkLimits(conn, path)
  const current = path.pathSegments[path.index]

  if (path.pathSegments.length === 0) {
    const id = conn.id === '' ? newId() : conn.id
    return stepped(conn, { ...path, index: 0, pathSegments: [segment(name, id)] }, { id, index: 0 })
  }
  if (current === undefined) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `path index is ${path.index}, but the path has ${path.pathSegments.length} segments`,
    )
  }
  if (current.id === '') throw new NsmError('INVALID_ARGUMENT', `path segment ${path.index} has no id`)
  const caller = { id: current.id, index: path.index }
  if (current.name === name) return stepped(conn, path, caller)
  if (current.id !== conn.id) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `path segment ${path.index} has id ${quote(current.id)}, which should equal the connection id ${quote(conn.id)}`,
    )
  }
  return stepped(conn, advance(path, name, newId), caller)
}

function stepped(conn: Connection, path: Path, caller: Step['caller']): Step {
  return { connection: { ...conn, id: path.pathSegments[path.index]?.id ?? '', path }, caller }
}

/** One hop on: reuses the segment of an earlier pass, renames that of another hop or one without an id, or appends one. */
function advance(path: Path, name: string, newId: () => string): Path {
  const index = path.index + 1
  const known = path.pathSegments[index]
  if (known?.name === name && known.id !== '') return { ...path, index }
  if (index >= pathLimits.segments) {
    throw new NsmError('INVALID_ARGUMENT', `path is longer than ${pathLimits.segments} segments`)
  }
  const own = known === undefined ? segment(name, newId()) : { ...known, name, id: newId() }
  return {
    ...path,
    index,
    pathSegments: [...path.pathSegments.slice(0, index), own, ...path.pathSegments.slice(index + 1)],
  }
}

function segment(name: string, id: string): PathSegment {
  return { name, id, token: '', expires: undefined, metrics: {} }
}

function checkLimits(conn: Connection, path: Path): void {
  const { pathSegments } = path
  if (pathSegments.length > pathLimits.segments) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `path has ${pathSegments.length} segments, at most ${pathLimits.segments} are allowed`,
    )
  }
  let total = checkedSize(conn.id)
  for (const { name, id, token } of pathSegments) {
    total += checkedSize(name) + checkedSize(id) + checkedSize(token)
  }
  if (total > pathLimits.totalBytes) {
    throw new NsmError('INVALID_ARGUMENT', `path has ${total} bytes, at most ${pathLimits.totalBytes}`)
  }
}

function checkedSize(text: string): number {
  const size = Buffer.byteLength(text)
  if (size <= pathLimits.textBytes) return size
  throw new NsmError(
    'INVALID_ARGUMENT',
    `connection id, segment names, ids and tokens may have ${pathLimits.textBytes} bytes each, one has ${size}`,
  )
}

function quote(id: string): string {
  return JSON.stringify(id.length > 64 ? `${id.slice(0, 64)}…` : id)
}

import { key, type Key } from '../ctx.ts'
import { NsmError } from '../errors.ts'
import type { Peer } from '../peer.ts'

/** The path of a registration as it travels in metadata (§3.4). */
export interface RegistryPath {
  readonly index: number
  readonly segments: readonly RegistryPathSegment[]
}

export interface RegistryPathSegment {
  /** JWS compact. */
  readonly token: string
}

/** The path of the call that goes on: elements replace it on the way down and again with the answer. */
export interface PathCell {
  path: RegistryPath
  /** Who answered the call that was made with this path. */
  answeredBy?: Peer
}

export const registryPath: Key<PathCell> = key('registry path')

export const emptyPath: RegistryPath = { index: 0, segments: [] }

/** As on connections: more hops than any mesh has. */
const maxSegments = 32
const maxBytes = 64 * 1024

/** The path as upstream's encoder writes it: Go member names, `null` for no segments. */
export function encodeRegistryPath(path: RegistryPath): string {
  const segments = path.segments.length === 0 ? null : path.segments.map(({ token }) => ({ token }))
  return JSON.stringify({ Index: path.index, PathSegments: segments })
}

/** Reads what `encodeRegistryPath` writes, member names in any case as Go's decoder does. @throws NsmError INVALID_ARGUMENT. */
export function decodeRegistryPath(text: string): RegistryPath {
  if (text.length > maxBytes) throw invalid(`is ${text.length} bytes long, at most ${maxBytes} are allowed`)
  const root = parseObject(text)
  const index = member(root, 'index') ?? 0
  const list = member(root, 'pathsegments') ?? []
  if (!Array.isArray(list)) throw invalid('has PathSegments that are not a list')
  if (list.length > maxSegments)
    throw invalid(`has ${list.length} segments, at most ${maxSegments} are allowed`)
  if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= Math.max(1, list.length))
    throw invalid(`has Index ${JSON.stringify(index)?.slice(0, 20)} with ${list.length} segments`)
  return { index, segments: list.map(decodeSegment) }
}

function decodeSegment(value: unknown): RegistryPathSegment {
  if (value === null) return { token: '' }
  if (typeof value !== 'object') throw invalid('has a segment that is not an object')
  const token = member(value, 'token') ?? ''
  if (typeof token !== 'string') throw invalid('has a token that is not a string')
  return { token }
}

function parseObject(text: string): object {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (err) {
    throw invalid('is not JSON', err)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('is not a JSON object')
  return value
}

function member(of: object, lowerCaseName: string): unknown {
  const found = Object.entries(of).findLast(([name]) => name.toLowerCase() === lowerCaseName)
  return (found?.[1] as unknown) ?? undefined
}

function invalid(what: string, cause?: unknown): NsmError {
  return new NsmError('INVALID_ARGUMENT', `metadata path ${what}`, { cause })
}

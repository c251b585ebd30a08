import { isDeepStrictEqual } from 'node:util'
import { NsmError } from '@nsm/sdk/errors.js'
import { isObject } from './shape.ts'

/** One operation of RFC 6902. */
export interface Operation {
  readonly op: string
  readonly path: string
  readonly from?: string
  readonly value?: unknown
}

/** A copy of `document` with the operations done in order; throws INVALID_ARGUMENT naming the first that can't be done. */
export function applyPatch(document: unknown, operations: readonly Operation[]): unknown {
  return operations.reduce((value, operation, i) => {
    try {
      return applyOne(value, operation)
    } catch (err) {
      const what = `patch operation ${i} (${operation.op} ${operation.path})`
      throw new NsmError('INVALID_ARGUMENT', `${what}: ${NsmError.from(err).message}`, { cause: err })
    }
  }, structuredClone(document))
}

function applyOne(document: unknown, { op, path, from, value }: Operation): unknown {
  switch (op) {
    case 'add':
      return put(document, tokensOf(path), value)
    case 'remove':
      return take(document, tokensOf(path))
    case 'replace':
      read(document, tokensOf(path))
      return path === '' ? value : put(take(document, tokensOf(path)), tokensOf(path), value)
    case 'move': {
      const moved = read(document, tokensOf(from ?? ''))
      return put(take(document, tokensOf(from ?? '')), tokensOf(path), moved)
    }
    case 'copy':
      return put(document, tokensOf(path), structuredClone(read(document, tokensOf(from ?? ''))))
    case 'test':
      if (!isDeepStrictEqual(read(document, tokensOf(path)), value))
        throw refusal('the value there is another one')
      return document
    default:
      throw refusal('the operation is unknown')
  }
}

/** RFC 6901: `/a~1b/0` → `a/b`, `0`. */
function tokensOf(pointer: string): readonly string[] {
  if (pointer === '') return []
  if (!pointer.startsWith('/')) throw refusal(`${pointer} is not a JSON pointer`)
  return pointer
    .slice(1)
    .split('/')
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
}

function read(document: unknown, tokens: readonly string[]): unknown {
  return tokens.reduce<unknown>((value, token) => {
    if (Array.isArray(value)) return value[indexOf(value, token, value.length - 1)] as unknown
    if (isObject(value) && Object.hasOwn(value, token)) return value[token]
    throw refusal(`there is no ${token}`)
  }, document)
}

function put(document: unknown, tokens: readonly string[], value: unknown): unknown {
  const [token, ...rest] = tokens
  if (token === undefined) return value
  if (Array.isArray(document)) {
    if (rest.length > 0) {
      const index = indexOf(document, token, document.length - 1)
      return document.with(index, put(document[index], rest, value)) as unknown
    }
    const index = token === '-' ? document.length : indexOf(document, token, document.length)
    return document.toSpliced(index, 0, value) as unknown
  }
  if (!isObject(document)) throw refusal(`there is nothing to put ${token} into`)
  if (rest.length === 0) return { ...document, [token]: value }
  if (!Object.hasOwn(document, token)) throw refusal(`there is no ${token}`)
  return { ...document, [token]: put(document[token], rest, value) }
}

function take(document: unknown, tokens: readonly string[]): unknown {
  const [token, ...rest] = tokens
  if (token === undefined) throw refusal('the whole document can not be removed')
  read(document, [token])
  if (Array.isArray(document)) {
    const index = indexOf(document, token, document.length - 1)
    return rest.length === 0
      ? (document.toSpliced(index, 1) as unknown)
      : (document.with(index, take(document[index], rest)) as unknown)
  }
  const { [token]: inner, ...others } = document as Record<string, unknown>
  return rest.length === 0 ? others : { ...others, [token]: take(inner, rest) }
}

function indexOf(list: readonly unknown[], token: string, max: number): number {
  const index = /^(0|[1-9][0-9]{0,6})$/.test(token) ? Number(token) : -1
  if (index < 0 || index > max) throw refusal(`${token} is no index of a list of ${list.length}`)
  return index
}

function refusal(message: string): NsmError {
  return new NsmError('INVALID_ARGUMENT', message)
}

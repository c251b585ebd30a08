import { objectOf, type JsonObject } from './json.ts'

/** One operation of a JSON Patch (RFC 6902); `path` is a JSON Pointer. */
export interface PatchOperation {
  readonly op: 'add' | 'test'
  readonly path: string
  readonly value: unknown
}

/** JSON Pointer (RFC 6901) of the given steps. */
export function pointer(...steps: readonly string[]): string {
  return steps.map((step) => `/${step.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}

/**
 * Puts named items in front of a list that may not be there yet. What stands first is tested,
 * so that the patch fails rather than lands elsewhere when the list is another one by then.
 */
export function prepend(
  parent: JsonObject,
  path: readonly string[],
  items: readonly unknown[],
): PatchOperation[] {
  if (items.length === 0) return []
  const list = listAt(parent, path)
  if (list === undefined) return [{ op: 'add', path: pointer(...path), value: items }]
  const first = objectOf(list[0])?.['name']
  const guard: PatchOperation[] =
    first === undefined ? [] : [{ op: 'test', path: pointer(...path, '0', 'name'), value: first }]
  const inserts = items.map((value, i): PatchOperation => ({
    op: 'add',
    path: pointer(...path, String(i)),
    value,
  }))
  return [...guard, ...inserts]
}

/** Puts items behind a list that may not be there yet. */
export function append(
  parent: JsonObject,
  path: readonly string[],
  items: readonly unknown[],
): PatchOperation[] {
  if (items.length === 0) return []
  if (listAt(parent, path) === undefined) return [{ op: 'add', path: pointer(...path), value: items }]
  return items.map((value): PatchOperation => ({ op: 'add', path: pointer(...path, '-'), value }))
}

/** Sets fields of a map that may not be there yet; those that have the value already are left alone. */
export function assign(
  parent: JsonObject,
  path: readonly string[],
  fields: Readonly<Record<string, string>>,
): PatchOperation[] {
  const present = objectOf(parent[path.at(-1) ?? ''])
  const changed = Object.entries(fields).filter(([key, value]) => present?.[key] !== value)
  if (changed.length === 0) return []
  if (present === undefined)
    return [{ op: 'add', path: pointer(...path), value: Object.fromEntries(changed) }]
  return changed.map(([key, value]): PatchOperation => ({ op: 'add', path: pointer(...path, key), value }))
}

function listAt(parent: JsonObject, path: readonly string[]): readonly unknown[] | undefined {
  const list = parent[path.at(-1) ?? '']
  return Array.isArray(list) ? list : undefined
}

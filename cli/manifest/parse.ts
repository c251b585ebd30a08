import { NsmError } from '@nsm/sdk/errors.js'
import { parseAllDocuments } from 'yaml'
import type { MeshObject } from './objects.ts'
import { checkObject } from './object-rules.ts'
import { isObject } from './shape.ts'

/** Far beyond any manifest by hand; keeps a wrong file from filling the memory. */
const maxBytes = 4 * 1024 * 1024

/**
 * Objects of a YAML text (documents, `List`s), all checked.
 * Throws INVALID_ARGUMENT with every fault of the text, one a line: `FILE: KIND NAME: FIELD MESSAGE`.
 */
export function parseManifest(text: string, file: string): readonly MeshObject[] {
  if (text.length > maxBytes)
    throw new NsmError(
      'INVALID_ARGUMENT',
      `${file}: is ${text.length} bytes long; at most ${maxBytes} are taken`,
    )
  const values = documentsOf(text, file).flatMap(itemsOf)
  const faults = values.flatMap((value) =>
    checkObject(value).map(({ path, message }) => `${file}: ${titleOf(value)}: ${path} ${message}`),
  )
  if (faults.length > 0) throw new NsmError('INVALID_ARGUMENT', faults.join('\n'))
  return values as MeshObject[]
}

function documentsOf(text: string, file: string): readonly unknown[] {
  const documents = parseAllDocuments(text)
  if (!Array.isArray(documents)) return []
  const fault = documents.flatMap((document) => document.errors)[0]
  if (fault !== undefined)
    throw new NsmError(
      'INVALID_ARGUMENT',
      `${file}: ${(fault.message.split('\n')[0] ?? '').replace(/:$/, '')}`,
      { cause: fault },
    )
  try {
    return documents
      .map((document) => document.toJS({ maxAliasCount: 100 }) as unknown)
      .filter((v) => v !== null)
  } catch (err) {
    throw new NsmError('INVALID_ARGUMENT', `${file}: ${String(err)}`, { cause: err })
  }
}

function itemsOf(value: unknown): readonly unknown[] {
  if (!isObject(value) || value['kind'] !== 'List') return [value]
  return Array.isArray(value['items']) ? (value['items'] as unknown[]) : []
}

function titleOf(value: unknown): string {
  if (!isObject(value)) return 'document'
  const metadata = isObject(value['metadata']) ? value['metadata'] : {}
  return `${word(value['kind'], 'object')} ${word(metadata['name'] ?? metadata['generateName'], '?')}`
}

function word(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise
}

/** What a template may name: strings, and maps of strings for `index`. */
export type TemplateData = Readonly<Record<string, string | Readonly<Record<string, string>>>>

/** Longer texts are taken literally. */
const maxLength = 4096

const identifier = String.raw`[\p{L}_][\p{L}\p{Nd}_]*`
const literal = String.raw`"(?:[^"\\\n]|\\.)*"|` + '`[^`]*`'
const action = new RegExp(
  String.raw`\{\{(-\s)?\s*(?:\.(${identifier})|index\s+\.(${identifier})?\s+(${literal}))\s*?(\s-)?\}\}`,
  'uy',
)

/**
 * Expands the part of Go's text/template that selectors and names use (§5.3): `{{ .key }}`, `{{ index . "key" }}`,
 * `{{ index .Labels "key" }}` and the trim marks `{{- -}}`. As in Go, a field that is absent prints `<no value>`
 * and an absent index prints nothing. A text that is not such a template, or that fails, is answered as it is.
 */
export function expandTemplate(text: string, data: TemplateData): string {
  if (!text.includes('{{') || text.length > maxLength) return text
  let out = ''
  let at = 0
  let trimNext = false
  for (;;) {
    const open = text.indexOf('{{', at)
    let plain = text.slice(at, open === -1 ? text.length : open)
    if (trimNext) plain = plain.trimStart()
    if (open === -1) return out + plain
    action.lastIndex = open
    const found = action.exec(text)
    const value = found === null ? undefined : evaluate(found, data)
    if (found === null || value === undefined) return text
    out += (found[1] === undefined ? plain : plain.trimEnd()) + value
    trimNext = found[5] !== undefined
    at = action.lastIndex
  }
}

/** Undefined = Go's execution would fail. */
function evaluate(found: RegExpExecArray, data: TemplateData): string | undefined {
  const [, , field, map, key] = found
  if (field !== undefined) {
    const value = ownValue(data, field)
    return value === undefined ? '<no value>' : typeof value === 'string' ? value : undefined
  }
  const from = map === undefined ? data : ownValue(data, map)
  const name = unquote(key)
  if (from === undefined || typeof from === 'string' || name === undefined) return undefined
  const value = ownValue(from, name) ?? ''
  return typeof value === 'string' ? value : undefined
}

function ownValue<T>(from: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(from, name) ? from[name] : undefined
}

function unquote(text: string | undefined): string | undefined {
  if (text === undefined || text.startsWith('`')) return text?.slice(1, -1)
  try {
    return JSON.parse(text) as string
  } catch {
    return undefined
  }
}

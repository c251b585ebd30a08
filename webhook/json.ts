/** A JSON object whose fields are not known beforehand. */
export type JsonObject = Readonly<Record<string, unknown>>

/** The value as an object; undefined when it is anything else. */
export function objectOf(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined
}

/** The objects of a list; whatever else is in it, or is no list, is left out. */
export function objectsOf(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.map(objectOf).filter((item) => item !== undefined) : []
}

/** The value as a text; undefined when it is anything else. */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** A map of texts, as labels and annotations are; other values are left out. */
export function textsOf(value: unknown): ReadonlyMap<string, string> {
  const entries = Object.entries(objectOf(value) ?? {})
  return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
}

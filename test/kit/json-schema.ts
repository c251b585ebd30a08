/** The parts of JSON Schema 2020-12 that our own documents use; any other keyword is refused, so that none goes unchecked. */
type Schema = Readonly<Record<string, unknown>>

const annotations = ['description', 'format']
const checks: Readonly<
  Record<string, (schema: Schema, value: unknown, root: Schema, at: string) => string[]>
> = {
  $ref: ({ $ref }, value, root, at) => faults(resolve(root, String($ref)), value, root, at),
  type: ({ type }, value, _root, at) =>
    [type].flat().some((name) => isOfType(String(name), value)) ? [] : [`${at} is not ${String(type)}`],
  enum: ({ enum: options }, value, _root, at) =>
    (options as unknown[]).includes(value) ? [] : [`${at} is ${String(value)}, which is not in its enum`],
  minimum: ({ minimum }, value, _root, at) =>
    Number(value) >= Number(minimum) ? [] : [`${at} is below ${String(minimum)}`],
  items: ({ items }, value, root, at) =>
    Array.isArray(value) ? value.flatMap((one, i) => faults(items as Schema, one, root, `${at}/${i}`)) : [],
  required: ({ required }, value, _root, at) =>
    (required as string[])
      .filter((name) => !Object.hasOwn(Object(value) as object, name))
      .map((name) => `${at} lacks ${name}`),
  properties: ({ properties }, value, root, at) =>
    Object.entries(properties as Record<string, Schema>).flatMap(([name, schema]) =>
      isOfType('object', value) && Object.hasOwn(value as object, name)
        ? faults(schema, (value as Record<string, unknown>)[name], root, `${at}/${name}`)
        : [],
    ),
  additionalProperties: ({ additionalProperties: more, properties = {} }, value, root, at) =>
    !isOfType('object', value)
      ? []
      : Object.entries(value as object)
          .filter(([name]) => !Object.hasOwn(properties as object, name))
          .flatMap(([name, one]) =>
            more === false
              ? [`${at} has ${name}, which is not described`]
              : faults(more as Schema, one, root, `${at}/${name}`),
          ),
  oneOf: ({ oneOf }, value, root, at) => {
    const fitting = (oneOf as Schema[]).filter((schema) => faults(schema, value, root, at).length === 0)
    return fitting.length === 1 ? [] : [`${at} fits ${fitting.length} of its alternatives`]
  },
}

/** Every way in which a value does not fit; `root` is the document that references are resolved in. */
export function faults(schema: Schema, value: unknown, root: Schema, at = ''): string[] {
  return Object.keys(schema)
    .filter((keyword) => !annotations.includes(keyword))
    .flatMap(
      (keyword) => checks[keyword]?.(schema, value, root, at) ?? [`${at}: ${keyword} is not known here`],
    )
}

function resolve(root: Schema, reference: string): Schema {
  const found = reference
    .slice('#/'.length)
    .split('/')
    .reduce<unknown>((value, step) => (value as Record<string, unknown>)[step], root)
  if (found === undefined) throw new Error(`${reference} leads nowhere`)
  return found as Schema
}

function isOfType(name: string, value: unknown): boolean {
  if (name === 'null') return value === null
  if (name === 'array') return Array.isArray(value)
  if (name === 'integer') return Number.isInteger(value)
  if (name === 'object') return typeof value === 'object' && value !== null && !Array.isArray(value)
  return typeof value === name
}

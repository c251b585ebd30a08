import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as fc from 'fast-check'
import protobuf from 'protobufjs'

/** Our .proto files as read by protobufjs: a second opinion on every codec. */
export function loadSchema(directory: string, options: protobuf.IParseOptions = {}): protobuf.Root {
  const root = new protobuf.Root()
  root.resolvePath = (_origin, target) => (target.startsWith('google/') ? target : `${directory}/${target}`)
  const files = readdirSync(directory).filter((name) => name.endsWith('.proto'))
  root.loadSync(files, options).resolveAll()
  return root
}

/** Folder of a package's .proto files, seen from a compiled test. */
export function protoFolder(pack: string): string {
  return fileURLToPath(new URL(`../../../${pack}/proto`, import.meta.url))
}

/** Every message type of these protobuf packages, by full name. */
export function messageTypes(root: protobuf.Root, packages: readonly string[]): protobuf.Type[] {
  return packages.flatMap((name) => nested(root.lookup(name))).filter((type) => type instanceof protobuf.Type)
}

function nested(object: protobuf.ReflectionObject | null): protobuf.ReflectionObject[] {
  if (!(object instanceof protobuf.Namespace)) return []
  return object.nestedArray.flatMap((child) => [child, ...nested(child)])
}

type Plain = Record<string, unknown>

/** Any message of a type, in the generated codecs' form: all fields present, `Date` for timestamps, maps as records. */
export function anyMessage(type: protobuf.Type, depth = 4): fc.Arbitrary<Plain> {
  return fc.record(
    Object.fromEntries(type.fieldsArray.map((field) => [field.name, anyField(field.resolve(), depth)])),
  )
}

function anyField(field: protobuf.Field, depth: number): fc.Arbitrary<unknown> {
  if (field instanceof protobuf.MapField) {
    // A map's value is never absent in the codecs' form once it has been on the wire.
    return depth === 0
      ? fc.constant({})
      : fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), present(field, depth), { maxKeys: 3 })
  }
  if (field.repeated) return depth === 0 ? fc.constant([]) : fc.array(present(field, depth), { maxLength: 3 })
  return anyValue(field, depth)
}

function present(field: protobuf.Field, depth: number): fc.Arbitrary<unknown> {
  return field.resolvedType instanceof protobuf.Type && !isTimestamp(field.resolvedType)
    ? anyMessage(field.resolvedType, depth - 1)
    : anyValue(field, depth)
}

function anyValue(field: protobuf.Field, depth: number): fc.Arbitrary<unknown> {
  const { resolvedType } = field
  if (resolvedType instanceof protobuf.Enum) return fc.constantFrom(...Object.values(resolvedType.values))
  if (resolvedType instanceof protobuf.Type) {
    if (depth === 0) return fc.constant(undefined)
    if (isTimestamp(resolvedType)) return fc.option(anyDate, { nil: undefined })
    return fc.option(anyMessage(resolvedType, depth - 1), { nil: undefined })
  }
  if (field.type === 'string') return fc.string({ unit: 'grapheme', maxLength: 12 })
  if (field.type === 'bool') return fc.boolean()
  if (field.type === 'uint32') return fc.nat(0xffff_ffff)
  if (field.type === 'int32') return fc.integer()
  throw new Error(`no values for ${field.fullName} of type ${field.type}`)
}

// Not before 1970: the generated codec writes negative nanos there. No timestamp of the API can be that old.
const anyDate = fc.date({ min: new Date(0), max: new Date('9999-12-30T00:00:00Z'), noInvalidDate: true })

function isTimestamp(type: protobuf.Type): boolean {
  return type.fullName === '.google.protobuf.Timestamp'
}

/** The same message in protobufjs' form: seconds and nanos for dates, absent for undefined. */
export function toForeign(value: unknown): unknown {
  if (value instanceof Date) {
    const seconds = Math.floor(value.getTime() / 1000)
    return { seconds, nanos: Math.round((value.getTime() - seconds * 1000) * 1e6) }
  }
  if (Array.isArray(value)) return value.map(toForeign)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .map(([name, member]) => [name, toForeign(member)]),
  )
}

import { readFileSync } from 'node:fs'
import * as connection from '@nsm/api/gen/connection.js'
import * as connectioncontext from '@nsm/api/gen/connectioncontext.js'
import * as health from '@nsm/api/gen/health.js'
import * as ipam from '@nsm/api/gen/ipam.js'
import * as networkservice from '@nsm/api/gen/networkservice.js'
import * as registry from '@nsm/api/gen/registry.js'
import * as fc from 'fast-check'
import t from 'tap'
import { anyMessage, loadSchema, messageTypes, protoFolder, toForeign } from '../kit/proto-schema.js'
import { withoutUnknown } from '../kit/messages.js'

interface Codec {
  encode(message: unknown): { finish(): Uint8Array }
  decode(bytes: Uint8Array): Record<string, unknown>
  fromPartial(message: unknown): Record<string, unknown>
}

const modules: Record<string, object> = {
  connection,
  connectioncontext,
  ipam,
  networkservice,
  registry,
  'grpc.health.v1': health,
}
const root = loadSchema(protoFolder('api'))
const types = messageTypes(root, Object.keys(modules))
const vectors = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../../api/vectors/${name}.json`, import.meta.url), 'utf8'))

function codecOf(fullName: string): Codec {
  const at = fullName.lastIndexOf('.')
  const module = modules[fullName.slice(0, at)] as Record<string, Codec | undefined>
  const codec = module[fullName.slice(at + 1)]
  if (codec === undefined) throw new Error(`no codec for ${fullName}`)
  return codec
}

t.test('every field has the number and type of the contract', (t) => {
  const contract = vectors('fields') as Record<string, Record<string, string>>
  const ours = Object.fromEntries(
    messageTypes(
      loadSchemaKeepingCase(),
      Object.keys(contract).map((name) => name.split('.')[0] ?? ''),
    ).map((type) => [
      type.fullName.slice(1),
      Object.fromEntries(type.fieldsArray.map((field) => [field.name, describe(field)])),
    ]),
  )
  t.same(ours, contract)
  t.end()
})

for (const type of types) {
  const fullName = type.fullName.slice(1)
  t.test(`${fullName}: another implementation reads what we write, and we read what it writes`, (t) => {
    const codec = codecOf(fullName)
    fc.assert(
      fc.property(anyMessage(type), (message) => {
        const foreign = toForeign(message) as Record<string, unknown>
        const ours = codec.encode(codec.fromPartial(message)).finish()
        const read = type.toObject(type.decode(ours), { longs: Number })
        const theirs = type.toObject(type.decode(type.encode(type.fromObject(foreign)).finish()), {
          longs: Number,
        })
        return (
          t.same(read, theirs) &&
          t.same(withoutUnknown(codec.decode(type.encode(type.fromObject(foreign)).finish())), message)
        )
      }),
      { numRuns: 40 },
    )
    t.end()
  })
}

t.test('the bytes of each message are these', (t) => {
  const fixed = vectors('messages') as { type: string; message: Record<string, unknown>; hex: string }[]
  t.same(fixed.map((row) => row.type).toSorted(), types.map((type) => type.fullName.slice(1)).toSorted())
  for (const { type, message, hex } of fixed) {
    const codec = codecOf(type)
    t.equal(
      Buffer.from(codec.encode(codec.fromPartial(revive(message))).finish()).toString('hex'),
      hex,
      `${type} written`,
    )
    t.same(toForeign(withoutUnknown(codec.decode(Buffer.from(hex, 'hex')))), message, `${type} read`)
  }
  t.end()
})

t.test('fields that a newer peer adds survive reading, copying and writing', (t) => {
  const known = Buffer.from(
    connection.Connection.encode(connection.Connection.fromPartial({ id: 'a', payload: 'IP' })).finish(),
  )
  // Field 100: the string "x"; field 101: the varint 7.
  const bytes = Buffer.concat([known, Buffer.from('a2060178', 'hex'), Buffer.from('a80607', 'hex')])
  const read = connection.Connection.decode(bytes)
  t.equal(read.id, 'a')
  const written = Buffer.from(connection.Connection.encode({ ...read }).finish())
  t.equal(written.toString('hex'), bytes.toString('hex'))

  const inner = Buffer.from('0a026162a2060178', 'hex')
  const path = Buffer.concat([Buffer.from([0x12, inner.length]), inner])
  const decoded = connection.Path.decode(path)
  t.equal(
    Buffer.from(connection.Path.encode({ ...decoded, index: 0 }).finish()).toString('hex'),
    path.toString('hex'),
  )
  t.end()
})

t.test('services have the paths and kinds of the contract', (t) => {
  const services = [
    networkservice.NetworkServiceDefinition,
    connection.MonitorConnectionDefinition,
    registry.NetworkServiceRegistryDefinition,
    registry.NetworkServiceEndpointRegistryDefinition,
    ipam.IPAMDefinition,
    health.HealthDefinition,
  ]
  const rows = services.flatMap((service) =>
    Object.values(service.methods).map((method) => [
      `/${service.fullName}/${method.name}`,
      method.requestStream,
      method.responseStream,
      codecName(method.requestType),
      codecName(method.responseType),
    ]),
  )
  t.same(rows, vectors('methods'))
  t.end()
})

function codecName(codec: unknown): string {
  const all = Object.entries(modules).flatMap(([pack, module]) =>
    Object.entries(module).map(([name, value]) => [`${pack}.${name}`, value] as const),
  )
  return all.find(([, value]) => value === codec)?.[0] ?? 'google.protobuf.Empty'
}

function loadSchemaKeepingCase(): ReturnType<typeof loadSchema> {
  return loadSchema(protoFolder('api'), { keepCase: true })
}

function describe(field: {
  id: number
  type: string
  repeated: boolean
  map: boolean
  keyType?: string
}): string {
  const type = field.map
    ? `map<${field.keyType},${field.type}>`
    : `${field.repeated ? 'repeated ' : ''}${field.type}`
  return `${field.id} ${type}`
}

/** Dates in the checked-in messages are seconds and nanos. */
function revive(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revive)
  if (typeof value !== 'object' || value === null) return value
  const { seconds, nanos } = value as { seconds?: unknown; nanos?: unknown }
  if (typeof seconds === 'number' && typeof nanos === 'number') return new Date(seconds * 1000 + nanos / 1e6)
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, revive(member)]))
}

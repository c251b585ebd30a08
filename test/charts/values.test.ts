import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { isMap, isScalar, parse, parseDocument, type Pair, type YAMLMap } from 'yaml'

const chart = fileURLToPath(new URL('../../../charts/nsm/', import.meta.url))
const read = async (name: string): Promise<string> => readFile(join(chart, name), 'utf8')

interface Schema {
  readonly type?: string | readonly string[]
  readonly $ref?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: boolean | Schema
  readonly items?: Schema
  readonly enum?: readonly unknown[]
  readonly pattern?: string
  readonly $defs?: Readonly<Record<string, Schema>>
}

const root = JSON.parse(await read('values.schema.json')) as Schema

function resolved(schema: Schema): Schema {
  const name = schema.$ref?.replace('#/$defs/', '')
  if (name === undefined) return schema
  const found = root.$defs?.[name]
  if (found === undefined) throw new Error(`${schema.$ref} leads nowhere`)
  return found
}

/** What the schema says of a field; undefined = it does not allow it. */
function fieldOf(schema: Schema, name: string): Schema | undefined {
  const { properties = {}, additionalProperties: more } = resolved(schema)
  if (Object.hasOwn(properties, name)) return properties[name]
  return typeof more === 'object' ? more : undefined
}

/** Where values are that the schema does not know. */
function unknown(schema: Schema, value: unknown, at: string): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return []
  const isFree =
    resolved(schema).properties === undefined && resolved(schema).additionalProperties === undefined
  return Object.entries(value).flatMap(([name, inner]) => {
    const field = isFree ? {} : fieldOf(schema, name)
    return field === undefined ? [`${at}.${name}`] : unknown(field, inner, `${at}.${name}`)
  })
}

/** Where the schema has fields that have no default. */
function missing(schema: Schema, value: unknown, at: string): readonly string[] {
  const { properties } = resolved(schema)
  if (properties === undefined) return []
  const given = Object(value) as Record<string, unknown>
  return Object.entries(properties).flatMap(([name, field]) =>
    Object.hasOwn(given, name) ? missing(field, given[name], `${at}.${name}`) : [`${at}.${name}`],
  )
}

t.test('each default is in the schema, and each field of the schema has a default', async (t) => {
  const values: unknown = parse(await read('values.yaml'))
  t.same(unknown(root, values, ''), [])
  // Charts that contain this one bring it.
  t.same(missing(root, values, ''), ['.global'])
  t.same(unknown(root, parse(await read('values-ha.yaml')), ''), [])
})

t.test('the schema lets nothing through that it does not name', async (t) => {
  const open: string[] = []
  const look = (schema: Schema, at: string): void => {
    const { properties, additionalProperties: more, items } = schema
    if (properties !== undefined && more !== false) open.push(at)
    for (const [name, field] of Object.entries(properties ?? {})) look(field, `${at}.${name}`)
    if (items !== undefined) look(items, `${at}[]`)
  }
  look(root, '')
  for (const [name, schema] of Object.entries(root.$defs ?? {})) look(schema, `$defs.${name}`)
  t.same(open, [])
})

t.test('each value is explained where it stands', async (t) => {
  const document = parseDocument(await read('values.yaml'))
  const bare: string[] = []
  // What is the same for each part is explained once, at the first.
  const explained = new Set<string>()
  const visit = (map: YAMLMap, at: string): void => {
    for (const [index, pair] of map.items.entries()) {
      const { key, value } = pair as Pair<{ value: string; commentBefore?: string }>
      const name = key.value
      const comment = key.commentBefore ?? (index === 0 ? map.commentBefore : undefined)
      const isInline = isMap(value) && value.flow === true
      if (comment !== undefined || isMap(value)) explained.add(name)
      if (comment === undefined && !explained.has(name) && !isObvious.has(name)) bare.push(`${at}${name}`)
      if (isMap(value) && !isInline) visit(value, `${at}${name}.`)
      if (isScalar(value) && value.value === null) bare.push(`${at}${name} has no default`)
    }
  }
  const isObvious = new Set([
    ...['resources', 'requests', 'limits', 'priorityClassName', 'nodeSelector', 'tolerations', 'affinity'],
    ...['podAnnotations', 'podLabels', 'podDisruptionBudget', 'enabled', 'image'],
  ])
  visit(document.contents as YAMLMap, '')
  t.same(bare, [])
})

t.test(
  'no rule of the chart covers everything, and nothing is added to the cluster’s own roles',
  async (t) => {
    const files = (await readdir(join(chart, 'templates'), { recursive: true })).filter((name) =>
      name.endsWith('.yaml'),
    )
    t.ok(files.length > 20)
    for (const file of files) {
      const text = await read(join('templates', file))
      t.notMatch(text, /^\s*(?:apiGroups|resources|verbs|resourceNames):.*\*/m, file)
      t.notMatch(text, /rbac\.authorization\.k8s\.io\/aggregate-to/, file)
      t.notMatch(
        text,
        /\b(?:randAlpha|randNumeric|randAscii|genCA|genSelfSignedCert|genPrivateKey|uuidv4|now)\b/,
        file,
      )
      t.notMatch(text, /\blookup\b/, `${file} renders the same without a cluster`)
    }
  },
)

t.test(
  'the chart has the version of the packages, and so has every image that a reader is told of',
  async (t) => {
    const file = async (name: string): Promise<string> =>
      readFile(fileURLToPath(new URL(`../../../${name}`, import.meta.url)), 'utf8')
    const { version } = JSON.parse(await file('package.json')) as { version: string }
    for (const name of ['examples/kubernetes/quickstart.yaml', 'docs/install.md']) {
      const tags = (await file(name)).matchAll(/\/nsm\/[$\w-]+:([\w.-]+)/g)
      t.same(new Set(Array.from(tags, ([, tag]) => tag)), new Set([version]), name)
    }
    const about = parse(await read('Chart.yaml')) as { version: string; appVersion: string }
    t.equal(about.version, version)
    t.equal(about.appVersion, version)
  },
)

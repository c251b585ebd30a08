// Writes docs/reference/ from the sources: configuration from the schemas, the rest from what stands in the code.
// With --check it writes nothing and fails when something there is not what it would write. Needs a build.
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

const root = new URL('../', import.meta.url).pathname
const folder = join(root, 'docs/reference')

/** Process → compiled module and the schema that it exports. */
const processes = {
  nsmgr: ['nsmgr/dist/config.js', 'managerConfig'],
  'forwarder-native': ['forwarder-native/dist/config.js', 'forwarderConfig'],
  registry: ['registry/dist/config.js', 'registryConfig'],
  sidecar: ['sidecar/dist/config.js', 'sidecarConfig'],
  'icmp-responder': ['nse/dist/config.js', 'icmpResponderConfig'],
  webhook: ['webhook/dist/config.js', 'webhookConfig'],
  prefixes: ['prefixes/dist/config.js', 'collectorConfig'],
  agent: ['agent/dist/config.js', 'agentConfig'],
}
/** Folders whose code ends up in a process. */
const packages = [
  'api',
  'spiffe',
  'sdk',
  'kubernetes',
  'registry',
  'nsmgr',
  'forwarder-native',
  'sidecar',
  'nse',
  'webhook',
  'agent',
  'prefixes',
  'cli',
]

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0)
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')
const table = (head, rows) =>
  `${[head, head.map(() => '---'), ...rows].map((row) => `| ${row.map(cell).join(' | ')} |`).join('\n')}\n`

async function sources(name) {
  const all = await readdir(join(root, name), { recursive: true })
  const kept = all.filter(
    (file) =>
      file.endsWith('.ts') && !file.endsWith('.d.ts') && !/(^|\/)(dist|gen|node_modules|target)\//.test(file),
  )
  return Promise.all(
    kept.toSorted().map(async (file) => ({
      file: join(name, file),
      text: await readFile(join(root, name, file), 'utf8'),
    })),
  )
}

async function config() {
  const sections = []
  for (const [title, [module, exported]] of Object.entries(processes)) {
    const { [exported]: schema } = await import(join(root, module))
    const rows = schema.describe().map(({ name, kind, fallback, required, meaning }) => {
      const otherwise = required
        ? 'required'
        : fallback === undefined || fallback === ''
          ? 'unset'
          : `\`${fallback}\``
      return [`\`${name}\``, kind, otherwise, meaning]
    })
    sections.push(`## ${title}\n\n${table(['variable', 'form', 'default', 'meaning'], rows)}`)
  }
  return `# Configuration

Each process is configured by environment variables. They are checked at start, all faults at once; \`--help\` prints them; an unknown \`NSM_\` variable is warned about. Durations are Go's (\`750ms\`, \`10m\`).

${sections.join('\n')}`
}

async function metrics() {
  const found = []
  for (const name of packages)
    for (const { file, text } of await sources(name))
      for (const [whole, metric, help] of text.matchAll(/'(nsm_[a-z_]+)',\s*(?:help: )?'([^']+)'/g)) {
        const after = text.slice(text.indexOf(whole) + whole.length).split(/help:|\n {2,6}\}/)[0]
        const labels = /labelNames: \[([^\]]*)\]/.exec(after)?.[1].replaceAll("'", '`') ?? ''
        found.push({
          metric,
          help,
          labels,
          where: file === 'sdk/process/metrics.ts' ? 'every process but the sidecar' : name,
        })
      }
  const rows = found
    .toSorted((a, b) => compare(a.metric, b.metric) || compare(a.where, b.where))
    .map(({ metric, where, labels, help }) => [`\`${metric}\``, where, labels, help])
  return `# Metrics

In Prometheus' text format at \`/metrics\` of NSM_OPS_LISTEN_ON. Labels are bounded and hold no identities. Besides these, every process but the sidecar has the Node.js client's own (\`process_…\`, \`nodejs_…\`). In the sidecar, metrics of a connection have the labels \`service\` and \`interface\`.

${table(['metric', 'in', 'labels', 'meaning'], rows)}`
}

async function elements() {
  const parts = [
    [
      'NetworkService',
      'sdk/elements',
      /^(TimeoutElement|RefreshElement|RecvFdServer|Monitor|Element|\w+Element)$/,
    ],
    ['Registry', 'sdk/registry', /^(RegistryElement<.*|\w*NetworkService(Endpoint)?Element)$/],
  ]
  const sections = []
  for (const [title, name, answers] of parts) {
    const rows = (await sources(name)).flatMap((source) => factories(source, answers))
    const sorted = rows.toSorted((a, b) => compare(a[0], b[0]))
    sections.push(`## ${title}\n\n${table(['element', 'does'], sorted)}`)
  }
  return `# Chain elements

Factories of everything that a chain can be composed of; \`sdk/chains/\` has the orders that a server and a client need. Sections (§) are those of the wire contract.

${sections.join('\n')}`
}

/** A row for each exported function with a doc comment whose result is an element. */
function factories({ file, text }, answers) {
  const declared =
    /\/\*\*((?:(?!\*\/)[^])*)\*\/\nexport function (\w+)(?:<[^(]*>)?\((?:(?!\n\})[^])*?\): ([^{;]+?) \{\n/g
  return [...text.matchAll(declared)]
    .filter(([, , , result]) => answers.test(result))
    .map(([, doc, factory]) => [`[\`${factory}\`](../../${file})`, paragraph(doc)])
}

/** First paragraph of a doc comment. */
function paragraph(doc) {
  const text = doc.replaceAll(/^[ \t]*\*? ?/gm, '').trim()
  return text
    .split(/\n\s*\n/)[0]
    .replaceAll(/\s+/g, ' ')
    .replace(/ ?@(param|throws).*$/, '')
}

async function errors() {
  const { codes } = await import(join(root, 'sdk/dist/errors.js'))
  const seen = new Map()
  for (const name of packages)
    for (const { text } of await sources(name))
      for (const [, code, quoted] of text.matchAll(
        /new NsmError\(\s*'([A-Z_]+)',\s*(`(?:[^`\\]|\\.)*`|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")/g,
      )) {
        const key = `${code} ${sentence(quoted)}`
        seen.set(key, {
          code,
          text: sentence(quoted),
          where: new Set([...(seen.get(key)?.where ?? []), name]),
        })
      }
  const sections = Object.keys(codes).flatMap((code) => {
    const rows = [...seen.values()].filter((error) => error.code === code && /[a-z]{3}/.test(error.text))
    if (rows.length === 0) return []
    const sorted = rows.toSorted((a, b) => compare(a.text, b.text))
    return [
      `## ${code}\n\n${table(
        ['sentence', 'from'],
        sorted.map(({ text, where }) => [text, [...where].join(', ')]),
      )}`,
    ]
  })
  return `# Errors

An error is a gRPC code and a sentence; \`…\` stands for a name or a value. A hop adds what it knows before the sentence of the hop behind it. Reason codes of connections are in [status.md](../status.md).

${sections.join('\n')}`
}

function sentence(quoted) {
  let text = quoted.slice(1, -1)
  while (/\$\{[^{}]*\}/.test(text)) text = text.replaceAll(/\$\{[^{}]*\}/g, '…')
  return text.replaceAll('\\', '').replaceAll(/[<>*_]/g, '\\$&')
}

const isCheck = process.argv.includes('--check')
let stale = 0
for (const [name, make] of Object.entries({ config, metrics, elements, errors })) {
  const path = join(folder, `${name}.md`)
  const text = await make()
  if (!isCheck) await writeFile(path, text)
  else if (text !== (await readFile(path, 'utf8').catch(() => ''))) {
    console.error(`docs/reference/${name}.md is not what \`npm run reference\` writes`)
    stale += 1
  }
}
process.exitCode = stale > 0 ? 1 : 0

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseManifest } from '@nsm/cli/manifest/parse.js'
import t from 'tap'
import { parse } from 'yaml'

const checkout = fileURLToPath(new URL('../../..', import.meta.url))
const read = (path: string): string => readFileSync(join(checkout, path), 'utf8')

/** Cells of the first column of the table under a heading. */
function firstColumn(text: string, heading: string): readonly string[] {
  const section = text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  return [...section.matchAll(/^\| `(\w+)` \|/gm)].map(([, name = '']) => name)
}

t.test('links between documents lead somewhere', async (t) => {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], {
    cwd: checkout,
    encoding: 'utf8',
  })
  const documents = listed.trim().split('\n')
  t.ok(documents.includes('README.md'))
  for (const document of documents)
    for (const [, link = ''] of read(document).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link) || link.startsWith('#')) continue
      const path = join(checkout, dirname(document), link.split('#')[0] ?? '')
      t.ok(existsSync(path), `${document}: ${link}`)
    }
})

t.test('status.md has every state and every reason', async (t) => {
  const { components } = parse(read('sidecar/openapi.yaml')) as {
    components: { schemas: { Connection: { properties: Record<string, { enum?: readonly string[] }> } } }
  }
  const { state, reason } = components.schemas.Connection.properties
  const text = read('docs/status.md')
  t.strictSame(firstColumn(text, 'States').toSorted(), state?.enum?.toSorted())
  t.strictSame(firstColumn(text, 'Reasons').toSorted(), reason?.enum?.toSorted())
  const declared = /type Reason =([^]*?)\n\n/.exec(read('sidecar/status.ts'))?.[1] ?? ''
  t.strictSame(
    [...declared.matchAll(/'(\w+)'/g)].map(([, name = '']) => name).toSorted(),
    reason?.enum?.toSorted(),
  )
})

t.test('endpoints.md shows the element of the example', async (t) => {
  const [, shown = ''] = /```ts\n([^]*?)```/.exec(read('docs/endpoints.md')) ?? []
  const source = read('examples/endpoint/quota.ts')
  const code = source.slice(source.indexOf('export function')).replaceAll(/^ +\/\/.*\n/gm, '')
  t.equal(shown, code)
})

/** What local-mesh.md says is supported in pods → a pod's YAML with it. */
const supported: Readonly<Record<string, string>> = {
  env: 'containers: [{name: c, command: [a], env: [{name: A, value: b}]}]',
  '$(NAME)': 'containers: [{name: c, command: [echo, $(A)], env: [{name: A, value: b}]}]',
  httpGet: 'containers: [{name: c, command: [a], startupProbe: {httpGet: {port: 80}}}]',
  exec: 'containers: [{name: c, command: [a], readinessProbe: {exec: {command: [a]}}}]',
  restartPolicy: 'restartPolicy: Never, containers: [{name: c, command: [a]}]',
  emptyDir: 'volumes: [{name: v, emptyDir: {}}], containers: [{name: c, command: [a]}]',
  'csi.spiffe.io':
    'volumes: [{name: v, csi: {driver: csi.spiffe.io}}], containers: [{name: c, command: [a]}]',
  'csi.networkservicemesh.io':
    'volumes: [{name: v, csi: {driver: csi.networkservicemesh.io}}], containers: [{name: c, command: [a]}]',
  hostPath:
    'volumes: [{name: v, hostPath: {path: /run/spire/sockets}}], containers: [{name: c, command: [a]}]',
  '/run/spire/sockets':
    'volumes: [{name: v, hostPath: {path: /run/spire/sockets}}], containers: [{name: c, command: [a]}]',
  '/var/lib/networkservicemesh':
    'volumes: [{name: v, hostPath: {path: /var/lib/networkservicemesh}}], containers: [{name: c, command: [a]}]',
  runAsUser: 'securityContext: {runAsUser: 5}, containers: [{name: c, command: [a]}]',
  runAsGroup: 'securityContext: {runAsGroup: 5}, containers: [{name: c, command: [a]}]',
  runAsNonRoot: 'securityContext: {runAsNonRoot: true}, containers: [{name: c, command: [a]}]',
  readOnlyRootFilesystem:
    'containers: [{name: c, command: [a], securityContext: {readOnlyRootFilesystem: true}}]',
  allowPrivilegeEscalation:
    'containers: [{name: c, command: [a], securityContext: {allowPrivilegeEscalation: false}}]',
  dnsPolicy: 'dnsPolicy: Default, containers: [{name: c, command: [a]}]',
  dnsConfig: 'dnsConfig: {nameservers: [10.0.0.1]}, containers: [{name: c, command: [a]}]',
  hostAliases: 'hostAliases: [{ip: 10.0.0.1, hostnames: [a]}], containers: [{name: c, command: [a]}]',
  sysctls:
    'securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "53"}]}, containers: [{name: c, command: [a]}]',
  nodeName: 'nodeName: node-1, containers: [{name: c, command: [a]}]',
}

const podWith = (spec: string): string =>
  `{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {${spec}}}`

t.test('local-mesh.md says what the rules say', async (t) => {
  const text = read('docs/local-mesh.md')
  const [, paragraph = ''] = /^(Supported in pods: .*)$/m.exec(text) ?? []
  const named = [...paragraph.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name)
  t.strictSame(named.toSorted(), Object.keys(supported).toSorted())
  for (const spec of Object.values(supported)) t.doesNotThrow(() => parseManifest(podWith(spec), 'f'), spec)
  const [, refusal = ''] = /^ {4}nsm: (pods\.yaml: .*)$/m.exec(text) ?? []
  const refused = podWith('containers: [{name: c, command: [a], lifecycle: {}}]')
  t.throws(() => parseManifest(refused, 'pods.yaml'), { message: refusal })
  const [, kinds = ''] = /^(`Namespace`.*?)\. Any other kind/m.exec(text) ?? []
  const other = '{apiVersion: v1, kind: Service, metadata: {name: x}}'
  const taken = [...kinds.matchAll(/`(\w+)`/g)].map(([, kind = '']) => kind)
  t.strictSame(taken.toSorted(), ['Deployment', 'Namespace', 'NetworkService', 'Pod'])
  for (const kind of taken)
    t.throws(() => parseManifest(other, 'f'), { message: new RegExp(`takes .*${kind}`) })
})

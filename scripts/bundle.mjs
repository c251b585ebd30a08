// Makes one CommonJS file per process (smaller and faster to start than modules), beside the native parts.
import { chmod, copyFile, mkdir, rename, stat, symlink, writeFile } from 'node:fs/promises'
import { build } from 'esbuild'

/** Bundle name → compiled entry. */
const entries = {
  registry: 'registry/dist/main.js',
  nsmgr: 'nsmgr/dist/main.js',
  forwarder: 'forwarder-native/dist/main.js',
  webhook: 'webhook/dist/main.js',
  sidecar: 'sidecar/dist/main.js',
  agent: 'agent/dist/main.js',
  prefixes: 'prefixes/dist/main.js',
  'icmp-responder': 'nse/dist/main.js',
  nsm: 'cli/dist/main.js',
  kubeconfig: 'kubernetes/dist/kubeconfig.js',
}

/** Reading kubeconfig files takes a client library whose mere text costs each process 8 MB: a file of its own, for who needs it. */
const kubeconfigApart = {
  name: 'kubeconfig-apart',
  setup: ({ onResolve }) =>
    onResolve({ filter: /^\.\/kubeconfig\.js$/ }, ({ kind }) =>
      kind === 'dynamic-import' ? { path: './kubeconfig.cjs', external: true } : undefined,
    ),
}

const out = 'build'
await mkdir(out, { recursive: true })
const result = await build({
  entryPoints: Object.entries(entries).map(([name, file]) => ({ in: file, out: name })),
  outdir: out,
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  metafile: true,
  write: false,
  logLevel: 'warning',
  external: ['*.node'],
  plugins: [kubeconfigApart],
  // A CommonJS file has no import.meta.url; the addon's loader looks beside it.
  banner: { js: 'const importMetaUrl = require("node:url").pathToFileURL(__filename).href;' },
  define: { 'import.meta.url': 'importMetaUrl' },
})
for (const { path, text } of result.outputFiles) {
  const isProgram = path.endsWith('/nsm.cjs')
  await writeFile(path, (isProgram ? '#!/usr/bin/env node\n' : '') + ascii(text))
  if (isProgram) await chmod(path, 0o755)
}
// With the folder in PATH: `nsm`, and `kubectl nsm`.
for (const name of ['nsm', 'kubectl-nsm']) {
  await symlink('nsm.cjs', `${out}/${name}`).catch((err) => {
    if (err.code !== 'EEXIST') throw err
  })
}
await writeFile(`${out}/meta.json`, JSON.stringify(result.metafile))
const native = 'forwarder-native/native'
await copyIfNewer(`${native}/nsm-native.node`, `${out}/nsm-native.node`)
await copyIfNewer(`${native}/target/release/nsm-run`, `${out}/nsm-run`)
await copyIfNewer('sidecar/openapi.yaml', `${out}/openapi.yaml`)

/**
 * One other character makes V8 keep the whole text with two bytes for each: a megabyte in a large process. esbuild escapes those in strings;
 * what is left stands in regular expressions and comments, where an escape means the same.
 */
function ascii(text) {
  return text.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** Replaces by rename: a running process may have the old one mapped. */
async function copyIfNewer(from, to) {
  const [a, b] = await Promise.all([stat(from), stat(to).catch(() => undefined)])
  if (b !== undefined && b.mtimeMs >= a.mtimeMs) return
  await copyFile(from, `${to}.new`)
  await rename(`${to}.new`, to)
}

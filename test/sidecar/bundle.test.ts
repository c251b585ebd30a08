import { build } from 'esbuild'
import t from 'tap'

t.test('the sidecar’s bundle holds nothing heavy', async (t) => {
  const { metafile } = await build({
    entryPoints: [new URL('../../../sidecar/dist/main.js', import.meta.url).pathname],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    metafile: true,
    write: false,
    outfile: 'sidecar.cjs',
    external: ['*.node'],
    logLevel: 'silent',
  })
  const packages = new Set(
    Object.keys(metafile.inputs).flatMap(
      (path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [],
    ),
  )
  const allowed = ['valibot', '@bufbuild/protobuf', 'dns-packet', '@leichtgewicht/ip-codec', 'lru-cache']
  t.same(
    [...packages].filter((name) => !allowed.includes(name)),
    [],
  )
  const bytes = Object.values(metafile.outputs)[0]?.bytes ?? Infinity
  t.ok(bytes < 600_000, `${bytes} bytes`)
})

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
  const allowed = [
    'valibot',
    '@bufbuild/protobuf',
    '@grpc/grpc-js',
    'dns-packet',
    '@leichtgewicht/ip-codec',
    'lru-cache',
  ]
  const ofGrpc = ['@grpc/proto-loader', '@js-sdsl/ordered-map', 'protobufjs', 'long', 'lodash.camelcase']
  const others = [...packages].filter((name) => !name.startsWith('@protobufjs/') && !ofGrpc.includes(name))
  t.same(
    others.filter((name) => !allowed.includes(name)),
    [],
  )
  for (const heavy of ['pino', 'prom-client', 'express', 'reflect-metadata', 'yaml'])
    t.notOk(packages.has(heavy), heavy)
})

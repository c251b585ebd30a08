import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import t from 'tap'

/** Packages that a program gets with one of our files. */
async function packagesOf(name: string): Promise<string[]> {
  const entry = fileURLToPath(new URL(`../../../spiffe/dist/${name}.js`, import.meta.url))
  const options = {
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    logLevel: 'silent',
  } as const
  const { metafile } = await build({ entryPoints: [entry], ...options })
  const packages = Object.keys(metafile.inputs).map(
    (input) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1],
  )
  return [...new Set(packages.filter((found) => found !== undefined))].sort()
}

t.test('only the authority loads a certificate generator', async (t) => {
  t.ok((await packagesOf('authority/authority')).includes('@peculiar/x509'))
  t.same(await packagesOf('workload-api'), ['@bufbuild/protobuf'])
})

t.test('mutual TLS and tokens load nothing but Node', async (t) => {
  for (const name of ['tls', 'verify', 'es256', 'authorise']) t.same(await packagesOf(name), [], name)
})

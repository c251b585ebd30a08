import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { buildImages, imagesFolder, readImage } from '../kit/image.ts'

const build = fileURLToPath(new URL('../../../build', import.meta.url))
const skip = existsSync(join(build, 'meta.json')) ? undefined : 'needs the bundles: run scripts/setup'
const settings = skip === undefined ? {} : { skip }

interface Meta {
  readonly outputs: Readonly<
    Record<string, { readonly inputs: Readonly<Record<string, { readonly bytesInOutput: number }>> }>
  >
}

/** Files that a bundle is made of. */
function inputsOf(name: string): readonly string[] {
  const { outputs } = JSON.parse(readFileSync(join(build, 'meta.json'), 'utf8')) as Meta
  const inputs = Object.entries(outputs[`build/${name}.cjs`]?.inputs ?? {})
  return inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path)
}

/** Packages of others that a bundle holds. */
function packagesIn(name: string): readonly string[] {
  const found = inputsOf(name).flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [])
  return [...new Set(found)].toSorted()
}

const certificates = /^(?:@peculiar\/|reflect-metadata$)/
const kubernetes = /^@kubernetes\//
const express = /^express$/
const commands = /^commander$/
const grpc = /^@grpc\//

t.test('what a bundle may hold', settings, (t) => {
  const may: Readonly<Record<string, readonly RegExp[]>> = {
    registry: [kubernetes],
    nsmgr: [],
    forwarder: [],
    webhook: [certificates, express, kubernetes],
    sidecar: [],
    agent: [certificates, kubernetes, grpc],
    prefixes: [kubernetes],
    'icmp-responder': [],
    nsm: [certificates, kubernetes, grpc, commands],
  }
  const tools = /^(?:typescript|esbuild|tap|ts-proto|fast-check|jose|ipaddr\.js|zod)$|^@tapjs\//
  for (const [name, allowed] of Object.entries(may)) {
    const packages = packagesIn(name)
    const heavy = [certificates, kubernetes, express, commands, grpc].filter((one) => !allowed.includes(one))
    t.same(
      packages.filter((one) => [tools, ...heavy].some((pattern) => pattern.test(one))),
      [],
      name,
    )
    const folders = new Set(inputsOf(name).map((path) => path.split('/')[0]))
    t.same(
      ['test', 'bench', 'scripts', 'images'].filter((folder) => folders.has(folder)),
      [],
      name,
    )
    const processes = ['registry', 'nsmgr', 'sidecar', 'nse', 'webhook', 'agent', 'prefixes', 'cli']
    const own: Readonly<Record<string, string>> = {
      'icmp-responder': 'nse',
      nsm: 'cli',
      forwarder: 'forwarder-native',
    }
    t.same(
      processes.filter((one) => folders.has(one) && one !== (own[name] ?? name)),
      [],
      `${name} holds no other process`,
    )
    t.ok(inputsOf(name).length > 5, `${name}: ${inputsOf(name).length} files`)
  }
  t.end()
})

t.test('every pod pays for what the sidecar holds', settings, (t) => {
  t.same(packagesIn('sidecar'), [
    '@bufbuild/protobuf',
    '@leichtgewicht/ip-codec',
    'dns-packet',
    'lru-cache',
    'valibot',
  ])
  t.notOk(inputsOf('sidecar').some((path) => path.startsWith('kubernetes/')))
  t.end()
})

t.test('an image has the native part when its bundle loads it, and only then', settings, async (t) => {
  const printed = await buildImages('--out', imagesFolder)
  for (const [, part = ''] of printed.matchAll(/^localhost\/nsm\/([^:]+):/gm)) {
    const entries = await (await readImage(join(imagesFolder, `${part}.tar`))).entries(1)
    const loads = inputsOf(part).includes('forwarder-native/native/dist/addon.js')
    t.equal(
      entries.some(({ path }) => path === 'nsm/nsm-native.node'),
      loads,
      part,
    )
  }
})

// Builds images of our parts without a container engine or a registry, or only what is inside them.
import { createHash } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { baseContent, keptCode, partContent } from './content.mjs'
import { parts } from './layout.mjs'
import { imageOf, layerOf } from './oci.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const help = `images [--tag TAG] [--out FOLDER] [PART…]
  Writes FOLDER/PART.tar for each part, an image localhost/nsm/PART:TAG that \`ctr -n k8s.io images import\` and \`docker load\` take,
  from this machine's node and the bundles in build/. Default: the version of the packages as tag, which is the one that the chart asks
  for; folder build/images; every part.
images --rootfs FOLDER
  Writes what all images share to FOLDER/base and what each part adds to FOLDER/PART, as files.
Parts: ${parts.join(', ')}
`

const { values, positionals } = parseArgs({
  options: {
    tag: { type: 'string' },
    out: { type: 'string', default: join(root, 'build/images') },
    build: { type: 'string', default: join(root, 'build') },
    rootfs: { type: 'string' },
    help: { type: 'boolean', short: 'h' },
  },
  allowPositionals: true,
})
const unknown = positionals.filter((part) => !parts.includes(part))
if (values.help === true) process.stdout.write(help)
else if (unknown.length > 0) fail(`there is no part ${unknown.join(', ')}; there are ${parts.join(', ')}`)
else if (values.tag !== undefined && !/^\w[\w.-]{0,127}$/.test(values.tag))
  fail(`--tag must be letters, digits, '_', '.' or '-', not ${values.tag}`)
else if (values.rootfs === undefined) await buildImages(positionals.length > 0 ? positionals : parts)
else await writeRootfs(values.rootfs)

async function buildImages(wanted) {
  const tag = values.tag ?? JSON.parse(await readFile(join(root, 'package.json'), 'utf8')).version
  const base = await kept(`base-${await keyOf([process.execPath, ...(await ownFiles())])}`, () =>
    baseContent(values.build),
  )
  for (const part of wanted) {
    const name = `localhost/nsm/${part}:${tag}`
    const program = layerOf(await partContent(part, values.build))
    const code = await kept(`${part}-${short(program.diffId + base.diffId)}`, () =>
      keptCode(part, values.build),
    )
    const { digest, data } = imageOf(part, name, [base, program, code])
    await writeWhole(join(values.out, `${part}.tar`), data)
    process.stdout.write(`${name} ${digest} ${Math.round(data.length / 1e6)} MB\n`)
  }
}

/** A layer from an earlier run, else a new one. Packing node takes seconds, and kept code is never the same twice. */
async function kept(key, contentOf) {
  const path = join(values.out, 'layers', key)
  try {
    const data = await readFile(`${path}.tar.gz`)
    return { ...JSON.parse(await readFile(`${path}.json`, 'utf8')), data }
  } catch {
    const { data, ...digests } = layerOf(await contentOf())
    await writeWhole(`${path}.tar.gz`, data)
    await writeWhole(`${path}.json`, JSON.stringify(digests))
    await removeOthers(dirname(path), key)
    return { data, ...digests }
  }
}

/** Layers of the same name made from something else, which is gone. */
async function removeOthers(folder, key) {
  const sameName = new RegExp(`^${key.replace(/[^-]+$/, '')}[0-9a-f]{16}\\.`)
  for (const file of await readdir(folder)) {
    if (sameName.test(file) && !file.startsWith(key)) await rm(join(folder, file), { force: true })
  }
}

async function writeRootfs(folder) {
  const base = await baseContent(values.build)
  await writeEntries(join(folder, 'base'), base)
  for (const part of parts) {
    await writeEntries(join(folder, part), [
      ...(await partContent(part, values.build)),
      ...(await keptCode(part, values.build)),
    ])
  }
}

async function writeEntries(folder, entries) {
  for (const { path, mode, data } of entries) {
    const target = join(folder, path)
    await mkdir(data === undefined ? target : dirname(target), { recursive: true })
    if (data !== undefined) await writeFile(target, data)
    await chmod(target, mode)
  }
}

/** By rename: somebody may be reading the old one. */
async function writeWhole(path, data) {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.${process.pid}`, data)
  await rename(`${path}.${process.pid}`, path)
}

/** Files of this folder and of `build` that end up in every image or decide what does. */
async function ownFiles() {
  const here = ['layout.mjs', 'start.cjs', 'content.mjs', 'tar.mjs', 'oci.mjs'].map((name) =>
    join(root, 'images', name),
  )
  return [...here, join(values.build, 'nsm-native.node')]
}

async function keyOf(files) {
  const facts = await Promise.all(
    files.map(async (file) => {
      const { size, mtimeMs } = await stat(file)
      return `${file} ${size} ${mtimeMs}`
    }),
  )
  return short(facts.join('\n'))
}

function short(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}

function fail(message) {
  process.stderr.write(`images: ${message}\n`)
  process.exitCode = 1
}

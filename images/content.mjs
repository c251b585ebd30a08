import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { bundleOf, entrypointOf, filesOf, folder, parts, systemFiles } from './layout.mjs'

const run = promisify(execFile)
const here = (name) => fileURLToPath(new URL(name, import.meta.url))

/** What all images share, as entries of an archive: the node that runs this program, libraries for it and for the native parts in `build`, the loader, system files. */
export async function baseContent(build) {
  const native = [...new Set(parts.flatMap(filesOf))].filter((name) => !/\.(?:cjs|yaml)$/.test(name))
  const libraries = await librariesOf([process.execPath, ...native.map((name) => join(build, name))])
  const files = [
    fileEntry(`${folder}/node`, process.execPath, 0o755),
    fileEntry(`${folder}/start.cjs`, here('start.cjs'), 0o644),
    ...libraries.map((path) => fileEntry(path, path, 0o755)),
  ]
  const system = Object.entries(systemFiles).map(([path, text]) => ({
    path,
    mode: 0o644,
    data: Buffer.from(text),
  }))
  return [...(await Promise.all(files)), ...system, { path: '/tmp', mode: 0o1777 }]
}

/** Files of one part from the folder `build`. */
export async function partContent(part, build) {
  const entries = filesOf(part).map((name) => fileEntry(`${folder}/${name}`, join(build, name), modeOf(name)))
  return Promise.all(entries)
}

/** The code that V8 makes of a part's bundle when it starts: differs from time to time, with the same effect. */
export async function keptCode(part, build) {
  const name = `${bundleOf(part)}.cache`
  const work = await mkdtemp(join(tmpdir(), 'nsm-code-'))
  try {
    const flags = entrypointOf(part).filter((word) => word.startsWith('--'))
    await run(
      process.execPath,
      [...flags, here('keep-code.cjs'), join(build, bundleOf(part)), join(work, name)],
      {
        env: {},
        timeout: 60_000,
      },
    )
    return [await fileEntry(`${folder}/${name}`, join(work, name), 0o644)]
  } finally {
    await rm(work, { recursive: true })
  }
}

async function fileEntry(path, source, mode) {
  return { path, mode, data: await readFile(source) }
}

function modeOf(name) {
  return name.endsWith('.node') ? 0o755 : 0o644
}

/** Absolute paths of the shared libraries, the dynamic loader among them, that programs are linked with. */
async function librariesOf(files) {
  const lists = await Promise.all(files.map(async (file) => (await run('ldd', [file])).stdout))
  const found = lists.flatMap((text) =>
    [...text.matchAll(/^\s+(?:\S+ => )?(\/\S+) \(0x/gm)].map(([, path]) => path),
  )
  const missing = lists.flatMap((text) => /^\s+(\S+) => not found/m.exec(text)?.[1] ?? [])
  if (missing.length > 0) throw new Error(`shared libraries are missing: ${missing.join(', ')}`)
  return [...new Set(found)]
}

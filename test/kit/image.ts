import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import type { Test } from 'tap'

const run = promisify(execFile)
const program = fileURLToPath(new URL('../../../scripts/images', import.meta.url))

/** Where tests that only look at images have them built: the second one finds the layers. */
export const imagesFolder: string = fileURLToPath(new URL('../../../build/images-tested', import.meta.url))

/** A file or folder in an image's layer, as `tar` tells it. */
export interface ImageEntry {
  readonly path: string
  /** `drwxr-xr-x`. */
  readonly mode: string
  readonly owner: string
  readonly bytes: number
}

export interface Image {
  readonly name: string
  readonly manifest: string
  readonly architecture: string
  readonly config: Readonly<Record<string, unknown>>
  /** Digests of the packed layers, the base first. */
  readonly layers: readonly string[]
  /** The files of one layer. */
  entries(layer: number): Promise<readonly ImageEntry[]>
  /** Writes the layers below a folder, as an engine does; all of them, or those named. */
  unpack(folder: string, layers?: readonly number[]): Promise<void>
}

interface Index {
  readonly manifests: readonly [
    {
      readonly digest: string
      readonly annotations: Readonly<Record<string, string>>
      readonly platform: { readonly architecture: string }
    },
  ]
}

interface Manifest {
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly digest: string }[]
}

/** A folder that goes with the test. */
export async function scratchFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-images-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** The folder, made if it is not there. */
export async function folderAt(path: string): Promise<string> {
  await mkdir(path, { recursive: true })
  return path
}

/** Runs `scripts/images`; answers what it printed. Rejects with its complaint. */
export async function buildImages(...args: string[]): Promise<string> {
  // Without the test runner's hook, which would become part of what is kept.
  return (await run('env', ['-u', 'NODE_OPTIONS', program, ...args])).stdout
}

/** The image in an archive of `scripts/images`, read the way containerd does: by its index. */
export async function readImage(archive: string): Promise<Image> {
  const members = membersOf(await readFile(archive))
  const member = (path: string): Buffer => members.get(path) ?? Buffer.alloc(0)
  const json = (path: string): unknown => JSON.parse(member(path).toString())
  const blob = (digest: string): string => `blobs/${digest.replace(':', '/')}`
  const index = json('index.json') as Index
  const [{ digest, annotations, platform }] = index.manifests
  const manifest = json(blob(digest)) as Manifest
  const { config } = json(blob(manifest.config.digest)) as Pick<Image, 'config'>
  const layers = manifest.layers.map((layer) => layer.digest)
  const plain = (layer: number): Buffer => gunzipSync(member(blob(layers[layer] ?? '')))
  return {
    name: annotations['io.containerd.image.name'] ?? '',
    manifest: digest,
    architecture: platform.architecture,
    config,
    layers,
    entries: async (layer) => entriesOf(await tar(['-tvf', '-'], plain(layer))),
    async unpack(folder, wanted = [...layers.keys()]) {
      for (const layer of wanted) await tar(['-xpf', '-', '-C', folder], plain(layer))
    },
  }
}

/** Files of an uncompressed archive by their paths. */
function membersOf(archive: Buffer): ReadonlyMap<string, Buffer> {
  const found = new Map<string, Buffer>()
  for (let at = 0; archive[at] !== undefined && archive[at] !== 0;) {
    const [name = ''] = archive.toString('latin1', at, at + 100).split('\0')
    const end = at + 512 + Number.parseInt(archive.toString('latin1', at + 124, at + 135), 8)
    found.set(name, archive.subarray(at + 512, end))
    at = Math.ceil(end / 512) * 512
  }
  return found
}

async function tar(args: readonly string[], input: Buffer): Promise<string> {
  const done = run('tar', ['--numeric-owner', '--full-time', ...args])
  done.child.stdin?.on('error', () => undefined)
  done.child.stdin?.end(input)
  return (await done).stdout
}

function entriesOf(listing: string): readonly ImageEntry[] {
  return listing
    .trim()
    .split('\n')
    .map((line) => /^(\S+) (\S+) +(\d+) (\S+ \S+) (.*?)\/?$/.exec(line) ?? [])
    .map(([, mode = '', owner = '', bytes = '', , path = '']) => ({
      path,
      mode,
      owner,
      bytes: Number(bytes),
    }))
}

/** Text of a file of this repository. */
export function ownFile(path: string): Promise<string> {
  return readFile(fileURLToPath(new URL(`../../../${path}`, import.meta.url)), 'utf8')
}

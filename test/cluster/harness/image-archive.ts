import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { run } from './command.ts'
import { pauseImage } from './node-files.ts'
import type { Tools } from './tools.ts'

export const corednsImage = 'localhost/nsm-cluster/coredns:1'
/** A shell and the usual programs, for tests. */
export const busyboxImage = 'localhost/nsm-cluster/busybox:1'

/** An image of one static program. */
interface ProgramImage {
  readonly name: string
  readonly program: string
  /** Where the image has it. */
  readonly target: string
  /** More names of the program, in the same folder. */
  readonly links: readonly string[]
  readonly config: Readonly<Record<string, unknown>>
}

/** Writes the archives of the cluster's own images into `folder` and answers their paths. */
export async function ownImages(folder: string, tools: Tools): Promise<string[]> {
  const links = (await run([tools.busybox, '--list']))
    .split('\n')
    .filter((name) => name !== '' && name !== 'busybox')
  const images: ProgramImage[] = [
    {
      name: pauseImage,
      program: tools.pause,
      target: 'pause',
      links: [],
      config: { Entrypoint: ['/pause'], User: '65535' },
    },
    {
      name: corednsImage,
      program: tools.coredns,
      target: 'coredns',
      links: [],
      config: { Entrypoint: ['/coredns'] },
    },
    {
      name: busyboxImage,
      program: tools.busybox,
      target: 'bin/busybox',
      links,
      config: { Cmd: ['sh'], Env: ['PATH=/bin'] },
    },
  ]
  await mkdir(folder, { recursive: true })
  return Promise.all(images.map(async (image) => archive(folder, image)))
}

async function archive(folder: string, image: ProgramImage): Promise<string> {
  const target = path.join(folder, `${path.basename(image.target)}.tar`)
  const work = await mkdtemp(`${target}.`)
  try {
    const root = path.join(work, 'root')
    const program = path.join(root, image.target)
    await mkdir(path.dirname(program), { recursive: true })
    await mkdir(path.join(root, 'tmp'))
    await chmod(path.join(root, 'tmp'), 0o1777)
    await copyFile(image.program, program)
    for (const link of image.links)
      await symlink(path.basename(program), path.join(path.dirname(program), link))
    const layer = path.join(work, 'layer.tar')
    await tar(root, layer, ['.'])
    const config = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: image.config,
      rootfs: { type: 'layers', diff_ids: [`sha256:${await sha256(layer)}`] },
    })
    await writeFile(path.join(work, 'config.json'), config)
    const manifest = [{ Config: 'config.json', RepoTags: [image.name], Layers: ['layer.tar'] }]
    await writeFile(path.join(work, 'manifest.json'), JSON.stringify(manifest))
    const whole = path.join(work, 'image.tar')
    await tar(work, whole, ['manifest.json', 'config.json', 'layer.tar'])
    await rename(whole, target)
    return target
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Tar files that depend on nothing but their content. */
async function tar(folder: string, target: string, names: readonly string[]): Promise<void> {
  const same = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner']
  await run(['tar', '-C', folder, ...same, '-cf', target, ...names])
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  return hash.digest('hex')
}

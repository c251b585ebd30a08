import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from './command.ts'

interface ImageIndex {
  readonly manifests: readonly unknown[]
}

/** Writes one OCI archive with the images of several: a node reads the layers that they share only once. */
export async function mergeArchives(archives: readonly string[], target: string): Promise<void> {
  const folder = await mkdtemp(`${target}.`)
  const index = path.join(folder, 'index.json')
  try {
    const manifests: unknown[] = []
    let last: ImageIndex = { manifests }
    for (const archive of archives) {
      await run(['tar', '-C', folder, '-xf', archive])
      last = JSON.parse(await readFile(index, 'utf8')) as ImageIndex
      manifests.push(...last.manifests)
    }
    await writeFile(index, JSON.stringify({ ...last, manifests }))
    await run(['tar', '-C', folder, '-cf', target, 'oci-layout', 'index.json', 'blobs'])
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

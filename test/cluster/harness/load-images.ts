import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { run } from './command.ts'
import { exclusive } from './exclusive.ts'
import type { Layout } from './layout.ts'
import { mergeArchives } from './merge-archives.ts'
import { importImages } from './node.ts'
import type { Progress } from './progress.ts'
import { checkout, openTools } from './tools.ts'

export interface LoadOptions {
  readonly layout: Layout
  /** Undefined = the one that the chart asks for. */
  readonly tag: string | undefined
  readonly progress: Progress
}

/** Builds the images of all parts and gives them to each node of the cluster. @throws when they cannot be built. */
export async function loadImages({ layout, tag, progress }: LoadOptions): Promise<void> {
  const tools = await openTools(progress)
  const folder = path.join(checkout, 'build/images')
  const onWait = (): void => progress.say('another process builds the images: waiting for it')
  await exclusive('images', onWait, async () => {
    await progress.step(`images built${tag === undefined ? '' : `, tag ${tag}`}`, async () => {
      await run(['node', path.join(checkout, 'scripts/bundle.mjs')], { cwd: checkout })
      const tagged = tag === undefined ? [] : ['--tag', tag]
      await run([path.join(checkout, 'scripts/images'), ...tagged], { cwd: checkout })
    })
    const archives = (await readdir(folder)).filter((file) => file.endsWith('.tar')).sort()
    await progress.step(`${archives.length} images on ${layout.nodes.length} nodes`, async () => {
      const all = path.join(layout.folder, 'parts.tar')
      await mergeArchives(
        archives.map((archive) => path.join(folder, archive)),
        all,
      )
      await Promise.all(layout.nodes.map(async (node) => importImages(node, tools, all)))
      await rm(all)
    })
  })
}

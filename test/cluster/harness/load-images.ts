import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { runOnTerminal } from './command.ts'
import type { Layout } from './layout.ts'
import { importImages } from './node.ts'
import type { Progress } from './progress.ts'
import { checkout, openTools } from './tools.ts'

export interface LoadOptions {
  readonly layout: Layout
  readonly tag: string
  readonly progress: Progress
}

/** Builds the images of all parts and gives them to each node of the cluster. @throws when they cannot be built. */
export async function loadImages({ layout, tag, progress }: LoadOptions): Promise<void> {
  const tools = await openTools(progress)
  await progress.step('images built', async () => {
    const status = await runOnTerminal([path.join(checkout, 'scripts/images'), '--tag', tag])
    if (status !== 0) throw new Error(`scripts/images ended with status ${status}`)
  })
  const folder = path.join(checkout, 'build/images')
  const archives = (await readdir(folder)).filter((file) => file.endsWith('.tar')).sort()
  await progress.step(`${archives.length} images on ${layout.nodes.length} nodes`, async () => {
    await Promise.all(
      layout.nodes.map(async (node) => {
        for (const archive of archives) await importImages(node, tools, path.join(folder, archive))
      }),
    )
  })
}

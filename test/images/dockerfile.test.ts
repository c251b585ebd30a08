import { execFile } from 'node:child_process'
import { copyFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { programsIn } from '@nsm/cli/mesh/programs.js'
import t from 'tap'
import { buildImages, folderAt, ownFile, readImage, scratchFolder, type Image } from '../kit/image.ts'

/** One stage of a Dockerfile: what it stands on and its instructions, in order. */
interface Stage {
  readonly from: string
  readonly steps: readonly (readonly [instruction: string, rest: string])[]
}

function stagesOf(dockerfile: string): ReadonlyMap<string, Stage> {
  const lines = dockerfile.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  const stages = new Map<string, { from: string; steps: (readonly [string, string])[] }>()
  for (const line of lines) {
    const [, instruction = '', rest = ''] = /^([A-Z]+) (.*)$/.exec(line) ?? []
    const [, from, name] = /^(?:--\S+ )?(\S+) AS (\S+)$/.exec(rest) ?? []
    if (instruction === 'FROM') stages.set(name ?? '', { from: from ?? '', steps: [] })
    else [...stages.values()].at(-1)?.steps.push([instruction, rest])
  }
  return stages
}

/** What the configuration of an image of this stage would be. */
function configOf(stages: ReadonlyMap<string, Stage>, name: string): Record<string, unknown> {
  const { from, steps = [] } = stages.get(name) ?? {}
  const config = from === undefined || from === 'scratch' ? {} : configOf(stages, from)
  for (const [instruction, rest] of steps) {
    if (instruction === 'ENV') config['Env'] = rest.split(' ')
    else if (instruction === 'USER') config['User'] = rest
    else if (instruction === 'WORKDIR') config['WorkingDir'] = rest
    else if (instruction === 'ENTRYPOINT') config['Entrypoint'] = JSON.parse(rest)
    else if (instruction !== 'COPY') throw new Error(`${name}: ${instruction} is not compared`)
  }
  return config
}

const run = promisify(execFile)
const build = fileURLToPath(new URL('../../../build', import.meta.url))

t.test('images of both ways are the same', async (t) => {
  const out = await scratchFolder(t)
  // A copy: somebody may bundle anew meanwhile.
  const from = ['--build', await folderAt(join(out, 'build'))]
  const files = (await readdir(build)).filter((name) => /\.(?:cjs|node|yaml)$/.test(name))
  await Promise.all(files.map((name) => copyFile(join(build, name), join(out, 'build', name))))
  const printed = await buildImages(...from, '--out', join(out, 'images'), '--tag', 'v1')
  const names = printed
    .trim()
    .split('\n')
    .map((line) => /^localhost\/nsm\/(\S+):v1 sha256:[0-9a-f]{64} \d+ MB$/.exec(line)?.[1] ?? line)
  const images = new Map<string, Image>()
  for (const name of names) images.set(name, await readImage(join(out, 'images', `${name}.tar`)))
  const stages = stagesOf(await ownFile('Dockerfile'))

  t.test('targets, environment, user and entry points', (t) => {
    const targets = [...stages].filter(([, { from }]) => from === 'base').map(([name]) => name)
    t.same(targets.toSorted(), names.toSorted())
    t.equal(stages.get('base')?.from, 'scratch')
    for (const [name, image] of images) {
      t.equal(image.name, `localhost/nsm/${name}:v1`)
      t.same(image.config, configOf(stages, name), name)
      t.equal(image.architecture, process.arch === 'x64' ? 'amd64' : process.arch)
    }
    t.end()
  })

  t.test('files', async (t) => {
    t.same(stages.get('base')?.steps[0], ['COPY', '--from=rootfs /rootfs/base/ /'])
    t.match(stages.get('rootfs')?.steps.at(-1), ['RUN', 'node images/main.mjs --rootfs /rootfs'])
    await buildImages(...from, '--rootfs', join(out, 'rootfs'))
    const [first] = [...images.values()]
    await first?.unpack(await folderAt(join(out, 'layers/base')), [0])
    for (const [name, image] of images) {
      t.same(stages.get(name)?.steps[0], ['COPY', `--from=rootfs /rootfs/${name}/ /`])
      await image.unpack(await folderAt(join(out, 'layers', name)), [1, 2])
    }
    // What is kept of compiled code is not the same twice.
    await run('diff', [
      '-r',
      '--no-dereference',
      '--exclude=*.cache',
      join(out, 'layers'),
      join(out, 'rootfs'),
    ])
    t.same(await filesBelow(join(out, 'rootfs')), await filesBelow(join(out, 'layers')))
  })

  t.test('as the local mesh runs them', (t) => {
    const { env } = programsIn(build, 600)
    const given = Object.entries(env).map(([name, value]) => `${name}=${value}`)
    for (const [name, { config }] of images) t.same(config['Env'], given, name)
    t.end()
  })

  t.test('again and elsewhere', async (t) => {
    t.equal(await buildImages(...from, '--out', join(out, 'images'), '--tag', 'v1'), printed)
    await buildImages(...from, '--out', join(out, 'others'), 'registry', 'sidecar')
    const { version } = JSON.parse(await ownFile('package.json')) as { version: string }
    for (const name of ['registry', 'sidecar']) {
      const { layers, name: withTag } = await readImage(join(out, 'others', `${name}.tar`))
      t.equal(withTag, `localhost/nsm/${name}:${version}`, 'the tag that the chart asks for')
      t.same(layers.slice(0, 2), images.get(name)?.layers.slice(0, 2), 'all but the kept code')
    }
    t.equal(new Set([...images.values()].map(({ layers }) => layers[0])).size, 1, 'one base for all')
  })
})

t.test('what cannot be built is refused', async (t) => {
  await t.rejects(buildImages('registri'), {
    code: 1,
    stderr: /there is no part registri; there are registry, nsmgr/,
  })
  await t.rejects(buildImages('--tag', 'a b'), { code: 1, stderr: /--tag must be letters/ })
  t.match(await buildImages('--help'), /^images \[--tag TAG\]/)
})

/** Paths with their permissions. */
async function filesBelow(folder: string): Promise<readonly string[]> {
  const { stdout } = await run('find', [folder, '-mindepth', '1', '-printf', '%P %m\n'])
  return stdout.trim().split('\n').toSorted()
}

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import {
  buildImages,
  folderAt,
  imagesFolder,
  readImage,
  scratchFolder,
  type Image,
  type ImageEntry,
} from '../kit/image.ts'

const run = promisify(execFile)
const names = /^localhost\/nsm\/([^:]+):/gm

/** Runs a program as the image's user with the unpacked image as its root, read-only, in mount and process namespaces of its own. */
async function inRootfs(root: string, config: Image['config'], argv: readonly string[]): Promise<string> {
  const line = [
    'mount --bind "$0" "$0"',
    'mount -t proc proc "$0/proc"',
    'mount -t tmpfs tmpfs "$0/dev"',
    'touch "$0/dev/null"',
    'mount --bind /dev/null "$0/dev/null"',
    'mount -o remount,bind,ro "$0"',
    'exec env -i "${@:2:$1}" /usr/sbin/chroot --userspec="${@:2+$1:1}" "$0" "${@:3+$1}"',
  ].join(' && ')
  const env = config['Env'] as readonly string[]
  const args = [root, String(env.length), ...env, config['User'] as string, ...argv]
  const { stdout } = await run('unshare', ['--mount', '--pid', '--fork', 'bash', '-c', line, ...args])
  return stdout
}

t.test('an image runs from what it holds, as nobody in particular', async (t) => {
  const folder = await scratchFolder(t)
  const base = join(folder, 'base')
  for (const [, part = ''] of (await buildImages('--out', imagesFolder)).matchAll(names)) {
    const image = await readImage(join(imagesFolder, `${part}.tar`))
    const root = join(folder, part)
    if (!existsSync(base)) await image.unpack(await folderAt(base), [0])
    await run('cp', ['-al', base, root])
    await image.unpack(root, [1, 2])
    // What an engine makes before it starts a container.
    await Promise.all([folderAt(join(root, 'proc')), folderAt(join(root, 'dev'))])
    await rm(join(root, 'etc/hosts'), { force: true })
    await writeFile(join(root, 'etc/hosts'), '10.9.8.7 registry.nsm-system\n')
    const entrypoint = image.config['Entrypoint'] as readonly string[]

    const help = await inRootfs(root, image.config, [...entrypoint, '--help'])
    t.match(
      help,
      part === 'nsm' ? /^Usage: nsm / : new RegExp(`^${part} is configured by environment variables`),
    )
    const [node = '', flag = '', , bundle = ''] = entrypoint
    const script = `
      const { readFileSync, writeFileSync } = require('node:fs')
      const { compile } = require('/nsm/start.cjs')
      const refused = (path) => { try { writeFileSync(path, '') } catch (err) { return err.code } }
      const facts = {
        uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(),
        keptCode: compile(${JSON.stringify(bundle)}).cachedDataRejected === false,
        written: [refused('/tmp/x'), refused('/nsm/x')],
      }
      require('node:dns').lookup('registry.nsm-system', (err, address) => console.log(JSON.stringify({ ...facts, address })))
    `
    t.same(
      JSON.parse(await inRootfs(root, image.config, [node, flag, '-e', script])),
      {
        uid: 65_532,
        gid: 65_532,
        groups: [65_532],
        keptCode: true,
        written: ['EROFS', 'EROFS'],
        address: '10.9.8.7',
      },
      part,
    )
  }
})

t.test('an image holds nothing to work with but its own program', async (t) => {
  const base = new Map<string, readonly ImageEntry[]>()
  const sizes: string[] = []
  for (const [, part = ''] of (await buildImages('--out', imagesFolder)).matchAll(names)) {
    const image = await readImage(join(imagesFolder, `${part}.tar`))
    const shared = base.get(image.layers[0] ?? '') ?? (await image.entries(0))
    base.set(image.layers[0] ?? '', shared)
    const entries = [...shared, ...(await image.entries(1)), ...(await image.entries(2))]
    const files = entries.filter(({ mode }) => !mode.startsWith('d'))
    const unknown = files.filter(
      ({ path }) =>
        !/^lib(?:64)?\/(?:[\w-]+-linux-gnu\/)?(?:lib[\w+]+|ld-linux-[\w-]+)\.so\.\d+$/.test(path) &&
        ![
          'etc/passwd',
          'etc/group',
          'etc/nsswitch.conf',
          'nsm/node',
          'nsm/start.cjs',
          'nsm/nsm-native.node',
        ].includes(path) &&
        ![
          `nsm/${part}.cjs`,
          `nsm/${part}.cjs.cache`,
          ...(part === 'sidecar' ? ['nsm/openapi.yaml'] : []),
        ].includes(path),
    )
    t.same(unknown, [], part)
    t.ok(files.some(({ path }) => path === `nsm/${part}.cjs`))
    t.same(
      entries.filter(({ owner }) => owner !== '0/0'),
      [],
      `${part}: all is root's`,
    )
    t.same(
      entries.filter(({ mode, path }) => /[sS]|.{8}w/.test(mode) && path !== 'tmp'),
      [],
      `${part}: no setuid, nothing writable`,
    )
    t.same(
      entries.filter(({ mode }) => !/^[d-]r.xr?.[-x]r.[-xt]$|^-rw-r--r--$|^drwx/.test(mode)),
      [],
      `${part}: all is readable`,
    )
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0)
    sizes.push(`${part} ${(bytes / 1e6).toFixed(1)}`)
  }
  t.comment(`megabytes unpacked, of which all share the first hundred: ${sizes.join(', ')}`)
})

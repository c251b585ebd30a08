import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { run } from './command.ts'
import { exclusive } from './exclusive.ts'
import { cacheFolder } from './go-build.ts'
import type { Progress } from './progress.ts'

/** Unpacked, not installed: installing would start services and change what the machine has. */
const packages = [
  'busybox-static',
  'containerd',
  'containernetworking-plugins',
  'etcd-server',
  'nftables',
  'runc',
]

/** Programs of the packages whose libraries must be on the machine. */
const dynamic = ['usr/bin/etcd', 'usr/bin/containerd', 'usr/sbin/runc', 'usr/sbin/nft']

/** Programs that the harness calls, with the package that has each. */
const commands = {
  ip: 'iproute2',
  nsenter: 'util-linux',
  openssl: 'openssl',
  setpriv: 'util-linux',
  sysctl: 'procps',
  tar: 'tar',
  unshare: 'util-linux',
}

/** Folder that holds the packages' files as they lie below /. Installs what they need, if it is missing. */
export async function debianTree(progress: Progress): Promise<string> {
  const target = path.join(cacheFolder(), `debian-${packages.length}-${process.arch}`)
  if (existsSync(target) && missingCommands().length === 0) return target
  const onWait = (): void => progress.say('another process unpacks the same packages: waiting for it')
  await exclusive('debian', onWait, async () => {
    const missing = missingCommands()
    if (missing.length > 0) await install(missing, progress)
    if (existsSync(target)) return
    await progress.step(`unpacked ${packages.join(', ')}`, async () => unpack(target, progress))
  })
  return target
}

async function unpack(target: string, progress: Progress): Promise<void> {
  await mkdir(cacheFolder(), { recursive: true })
  const folder = await mkdtemp(`${target}.`)
  const debs = await mkdtemp('/var/tmp/nsm-debs-')
  try {
    // apt downloads as a user of its own.
    await chmod(debs, 0o777)
    await download(debs)
    for (const deb of await readdir(debs)) await run(['dpkg', '-x', path.join(debs, deb), folder])
    await installLibraries(folder, progress)
    await rename(folder, target)
  } finally {
    await rm(folder, { recursive: true, force: true })
    await rm(debs, { recursive: true, force: true })
  }
}

async function download(folder: string): Promise<void> {
  const get = async (): Promise<string> => run(['apt-get', 'download', '-qq', ...packages], { cwd: folder })
  await get().catch(async () => {
    // Lists that are absent or too old name no file that is still there.
    await run(['apt-get', 'update', '-qq'])
    await get()
  })
}

/** Packages of the commands that the machine does not have. */
function missingCommands(): string[] {
  const folders = (process.env['PATH'] ?? '').split(':')
  const missing = Object.entries(commands).filter(
    ([command]) => !folders.some((folder) => existsSync(path.join(folder, command))),
  )
  return [...new Set(missing.map(([, name]) => name))]
}

async function installLibraries(tree: string, progress: Progress): Promise<void> {
  const linked = await Promise.all(dynamic.map(async (file) => run(['ldd', path.join(tree, file)])))
  if (!linked.some((text) => text.includes('not found'))) return
  await install(['libseccomp2', 'libnftables1', 'libedit2'], progress)
}

async function install(names: readonly string[], progress: Progress): Promise<void> {
  await progress.step(`installed ${names.join(', ')}`, async () => {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const get = async (): Promise<string> =>
      run(['apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...names], { env })
    await get().catch(async () => {
      await run(['apt-get', 'update', '-qq'])
      await get()
    })
  })
}

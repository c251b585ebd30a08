import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { run } from './command.ts'
import { exclusive } from './exclusive.ts'
import { cacheFolder } from './go-build.ts'
import { removeLeftovers } from './leftovers.ts'
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

/** Programs of the packages whose libraries must be on the machine, and the packages that have these. */
const dynamic = ['usr/bin/etcd', 'usr/bin/containerd', 'usr/sbin/runc', 'usr/sbin/nft']
const libraries = ['libseccomp2', 'libnftables1', 'libedit2']

/** A mirror that fails once is asked again. */
const aptGet = ['apt-get', '-qq', '-o', 'Acquire::Retries=5']

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
  const target = path.join(cacheFolder(), `debian-${await keyOf(packages)}`)
  const programs = dynamic.map((file) => path.join(target, file))
  // The tree may have been kept for longer than the machine.
  const isComplete = async (): Promise<boolean> =>
    existsSync(target) && missingCommands().length === 0 && (await missingLibraries(programs)).length === 0
  if (await isComplete()) return target
  const onWait = (): void => progress.say('another process unpacks the same packages: waiting for it')
  await exclusive('debian', onWait, async () => {
    const missing = missingCommands()
    if (missing.length > 0) await install(missing, progress)
    if (!existsSync(target))
      await progress.step(`unpacked ${packages.join(', ')}`, async () => unpack(target))
    if ((await missingLibraries(programs)).length > 0) await install(libraries, progress)
    const lacking = await missingLibraries(programs)
    if (lacking.length > 0)
      throw new Error(
        `${dynamic.join(', ')} need ${lacking.join(', ')}, which ${libraries.join(', ')} do not have`,
      )
  })
  return target
}

/** Packages of another release have other files. */
async function keyOf(names: readonly string[]): Promise<string> {
  const release = await readFile('/etc/os-release', 'utf8')
  const hash = createHash('sha256').update(JSON.stringify([process.arch, names, release]))
  return hash.digest('hex').slice(0, 16)
}

async function unpack(target: string): Promise<void> {
  await mkdir(cacheFolder(), { recursive: true })
  await removeLeftovers(cacheFolder(), /^debian-/)
  await removeLeftovers('/var/tmp', /^nsm-debs$/)
  const folder = await mkdtemp(`${target}.`)
  const debs = await mkdtemp('/var/tmp/nsm-debs.')
  try {
    // apt downloads as a user of its own.
    await chmod(debs, 0o777)
    await download(debs)
    for (const deb of await readdir(debs)) await run(['dpkg', '-x', path.join(debs, deb), folder])
    await rename(folder, target)
  } finally {
    await rm(folder, { recursive: true, force: true })
    await rm(debs, { recursive: true, force: true })
  }
}

async function download(folder: string): Promise<void> {
  const get = async (): Promise<string> => run([...aptGet, 'download', ...packages], { cwd: folder })
  await get().catch(async () => {
    // Lists that are absent or too old name no file that is still there.
    await run([...aptGet, 'update'])
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

/** Libraries that programs are linked with and the machine does not have. */
export async function missingLibraries(programs: readonly string[]): Promise<string[]> {
  const linked = await Promise.all(programs.map(async (file) => run(['ldd', file])))
  const missing = linked.flatMap((text) => [...text.matchAll(/^\s*(\S+) => not found$/gm)])
  return [...new Set(missing.map(([, name = '']) => name))]
}

async function install(names: readonly string[], progress: Progress): Promise<void> {
  await progress.step(`installed ${names.join(', ')}`, async () => {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const get = async (): Promise<string> =>
      run([...aptGet, 'install', '-y', '--no-install-recommends', ...names], { env })
    await get().catch(async () => {
      await run([...aptGet, 'update'])
      await get()
    })
  })
}

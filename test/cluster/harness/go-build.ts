import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { run } from './command.ts'
import { exclusive } from './exclusive.ts'
import { removeLeftovers } from './leftovers.ts'
import type { Progress } from './progress.ts'

/** Where built programs are kept from one run to the next, outside every checkout. */
export function cacheFolder(): string {
  return path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'nsm-cluster')
}

export interface GoModule {
  /** Folder with the go.mod. */
  readonly folder: string
  /** What `go build` is given: each makes one program. */
  readonly packages: readonly string[]
  /** Said before the first build. */
  readonly patience: string
}

/**
 * Folder with the module's programs: from the cache when the sources have not changed, otherwise built.
 * @throws when Go is not installed or the build fails.
 */
export async function builtModule(module: GoModule, progress: Progress): Promise<string> {
  const target = path.join(cacheFolder(), await hashOf(module))
  if (existsSync(target)) return target
  const onWait = (): void => progress.say('another process builds the same programs: waiting for it')
  return exclusive('build', onWait, async () => {
    if (!existsSync(target)) {
      progress.say(module.patience)
      await progress.step('built Kubernetes', async () => build(module, target))
    }
    return target
  })
}

async function build(module: GoModule, target: string): Promise<void> {
  await run(['go', 'version']).catch(() => {
    throw new Error(
      'Go is not installed: install Go 1.26, or set KUBEBUILDER_ASSETS and have the rest built elsewhere',
    )
  })
  await mkdir(cacheFolder(), { recursive: true })
  await removeLeftovers(cacheFolder(), /^[0-9a-f]{16}$/)
  const folder = await mkdtemp(`${target}.`)
  try {
    const flags = `-s -w ${await versionFlags(module.folder)}`
    const env = { ...process.env, CGO_ENABLED: '0' }
    await download(module, env)
    const argv = [
      'nice',
      'go',
      'build',
      '-trimpath',
      '-ldflags',
      flags,
      '-o',
      `${folder}/`,
      ...module.packages,
    ]
    await run(argv, { cwd: module.folder, env, timeoutMs: 3_600_000 })
    await rename(folder, target)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Go does not ask a second time for a module that did not come, and would give up in the middle of the build. */
async function download(module: GoModule, env: NodeJS.ProcessEnv): Promise<void> {
  const get = async (): Promise<string> =>
    run(['go', 'list', '-deps', ...module.packages], { cwd: module.folder, env, timeoutMs: 1_800_000 })
  for (let triesLeft = 2; triesLeft > 0; triesLeft--) {
    try {
      await get()
      return
    } catch {
      await pause(10_000)
    }
  }
  await get()
}

/** The components print the version that the linker gives them. */
async function versionFlags(folder: string): Promise<string> {
  const version = await kubernetesVersion(folder)
  const [major, minor] = version.slice(1).split('.')
  const values = {
    gitVersion: version,
    gitMajor: major,
    gitMinor: minor,
    gitTreeState: 'clean',
    gitCommit: 'unknown',
  }
  return Object.entries(values)
    .map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`)
    .join(' ')
}

/** Of the Kubernetes that a module requires, such as v1.37.2. */
export async function kubernetesVersion(folder: string): Promise<string> {
  const text = await readFile(path.join(folder, 'go.mod'), 'utf8')
  const version = /k8s\.io\/kubernetes (v[\d.]+)/.exec(text)?.[1]
  if (version === undefined) throw new Error(`${folder}/go.mod requires no k8s.io/kubernetes`)
  return version
}

async function hashOf(module: GoModule): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([process.arch, module.packages]))
  for (const file of (await readdir(module.folder, { recursive: true })).sort()) {
    if (!/(\.go|^go\.mod|^go\.sum)$/.test(file)) continue
    hash.update(file).update(await readFile(path.join(module.folder, file)))
  }
  return hash.digest('hex').slice(0, 16)
}

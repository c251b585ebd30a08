import { mkdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { NsmError } from '@nsm/sdk/errors.js'
import { paths } from './options.ts'
import { isAlive, processId, type ProcessId } from './processes.ts'

/** Who owns a mesh's folder: its daemon, if that is alive. */
export async function daemonOf(folder: string): Promise<ProcessId | undefined> {
  const known = await readProcesses(paths(folder).daemon)
  const [daemon] = known
  return daemon !== undefined && (await isAlive(daemon)) ? daemon : undefined
}

/** Makes the folder ours. FAILED_PRECONDITION when a living daemon has it; what a dead one left is cleaned. */
export async function claimFolder(folder: string, name: string): Promise<void> {
  const owner = await daemonOf(folder)
  if (owner !== undefined)
    throw new NsmError(
      'FAILED_PRECONDITION',
      `mesh "${name}" is up already (process ${owner.pid}): end it with \`nsm down --name ${name}\`, or start another with --name`,
    )
  await cleanFolder(folder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const self = await processId(process.pid)
  await replaceFile(paths(folder).daemon, JSON.stringify(self === undefined ? [] : [self]))
}

/** Ends what a killed daemon may have left and removes its folder. Sandboxes die with it; this is for the case that one didn't. */
export async function cleanFolder(folder: string): Promise<void> {
  for (const left of await readProcesses(paths(folder).sandboxes))
    if (await isAlive(left)) killQuietly(left.pid)
  await rm(folder, { recursive: true, force: true })
  // The last one turns off the light.
  await rmdir(dirname(folder)).catch(() => undefined)
}

/** Writes a file so that readers see either the old or the new content. */
export async function replaceFile(path: string, content: string): Promise<void> {
  const fresh = `${path}.new`
  await writeFile(fresh, content, { mode: 0o600 })
  await rename(fresh, path)
}

async function readProcesses(path: string): Promise<readonly ProcessId[]> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return Array.isArray(value) ? value.filter(isProcessId) : []
  } catch {
    return []
  }
}

function isProcessId(value: unknown): value is ProcessId {
  if (typeof value !== 'object' || value === null) return false
  const { pid, startTime } = value as Partial<Record<'pid' | 'startTime', unknown>>
  return Number.isInteger(pid) && (pid as number) > 1 && typeof startTime === 'string'
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone meanwhile.
  }
}

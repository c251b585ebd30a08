import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { clustersFolder, layoutOf, type Layout } from './layout.ts'

/** What is written down before anything of a cluster is made, so that all of it can be found and removed. */
export interface ClusterState {
  readonly name: string
  /** 0 for an API server alone. */
  readonly nodes: number
  /** Second byte of its addresses. */
  readonly range: number
  readonly minor: string
  /** It came up whole. */
  readonly ready: boolean
  /** The process with whose end the cluster has lost its purpose. */
  readonly owner?: ProcessIdentity
}

/** A process, told from a later one of the same number. */
export interface ProcessIdentity {
  readonly pid: number
  /** In ticks after the machine's start. */
  readonly started: string
}

/** undefined when there is no such process. */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  try {
    // The name, in parentheses, may hold anything; the start is the 20th field after it.
    const started = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[19]
    return started === undefined ? undefined : { pid, started }
  } catch {
    return undefined
  }
}

/** Whether the cluster was of a process that has ended. */
export function isOrphan({ owner }: ClusterState): boolean {
  return owner !== undefined && processIdentity(owner.pid)?.started !== owner.started
}

const stateFile = 'cluster.json'
const fileOf = (name: string): string => path.join(clustersFolder, name, stateFile)

export async function writeState(state: ClusterState): Promise<void> {
  const file = fileOf(state.name)
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(`${file}.new`, JSON.stringify(state))
  await rename(`${file}.new`, file)
}

/** undefined when there is no such cluster. */
export function readState(name: string): ClusterState | undefined {
  try {
    return JSON.parse(readFileSync(fileOf(name), 'utf8')) as ClusterState
  } catch (err) {
    // Another process may remove it at any time; and not all that lies beside clusters is a folder.
    if (['ENOENT', 'ENOTDIR'].includes((err as NodeJS.ErrnoException).code ?? '')) return undefined
    throw err
  }
}

/** Removes all files of the cluster, what is written down of it last: a removal that is killed is found again, and finished. */
export async function removeFiles(name: string): Promise<void> {
  const { folder } = layoutOf(name, 0, 0)
  if (!existsSync(folder)) return
  const gone = { recursive: true, force: true, maxRetries: 5 }
  for (const entry of await readdir(folder)) if (entry !== stateFile) await rm(path.join(folder, entry), gone)
  await rm(folder, gone)
}

/** All clusters of this machine, those that a killed run has left among them. */
export function states(): ClusterState[] {
  if (!existsSync(clustersFolder)) return []
  return readdirSync(clustersFolder)
    .map(readState)
    .filter((state) => state !== undefined)
}

export function layoutOfState(state: ClusterState): Layout {
  return layoutOf(state.name, state.nodes, state.range)
}

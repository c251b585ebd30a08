import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

/** Folder of each control group hierarchy of this machine: those of version 1 that have controllers, and that of version 2. */
function hierarchies(): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, folder = '', type = '']) => type.startsWith('cgroup') && folder.startsWith('/sys/fs/cgroup'))
    .map(([, folder = '']) => folder)
}

/** The group's folder in each hierarchy. `group` is a path without leading slash. */
export function cgroupFolders(group: string): string[] {
  return hierarchies().map((hierarchy) => path.join(hierarchy, group))
}

/** Makes a group, and those above it, in every hierarchy. */
export function makeCgroup(group: string): void {
  for (const hierarchy of hierarchies()) {
    let folder = hierarchy
    for (const part of group.split('/')) {
      openToChildren(folder)
      folder = path.join(folder, part)
      mkdirSync(folder, { recursive: true })
      inheritCpus(folder)
    }
  }
}

/** Version 2 gives a child only the controllers that its parent names. */
function openToChildren(folder: string): void {
  const offered = path.join(folder, 'cgroup.controllers')
  if (!existsSync(offered)) return
  for (const controller of readFileSync(offered, 'utf8').split(/\s+/).filter(Boolean)) {
    try {
      writeFileSync(path.join(folder, 'cgroup.subtree_control'), `+${controller}`)
    } catch {
      // A controller that the machine keeps for itself: kubelet says which ones it misses.
    }
  }
}

/** A new cpuset of version 1 is empty and takes no process. */
function inheritCpus(folder: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    const own = path.join(folder, file)
    if (!existsSync(path.join(folder, 'cpuset.sched_load_balance'))) return
    if (readFileSync(own, 'utf8').trim() !== '') continue
    writeFileSync(own, readFileSync(path.join(folder, '..', file), 'utf8'))
  }
}

/** Every process in the group or in a group below it. */
export function processesOf(group: string): number[] {
  return [...new Set(cgroupFolders(group).flatMap(processesBelow))]
}

function processesBelow(folder: string): number[] {
  try {
    const own = readFileSync(path.join(folder, 'cgroup.procs'), 'utf8')
      .split('\n')
      .filter(Boolean)
      .map(Number)
    return [...own, ...childrenOf(folder).flatMap(processesBelow)]
  } catch {
    return [] // The group went away.
  }
}

function childrenOf(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => path.join(folder, entry.name))
}

/** Kills the group's processes that `which` picks (default all) and waits until they are gone. */
export async function killProcesses(
  group: string,
  which: (pid: number) => boolean = () => true,
): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt++) {
    const pids = processesOf(group).filter((pid) => pid > 0 && which(pid))
    if (pids.length === 0) return
    for (const pid of pids) signal(pid, 'SIGKILL')
    await pause(50)
  }
  throw new Error(`processes of control group ${group} do not end: ${processesOf(group).join(' ')}`)
}

/** Sends a signal to a process that may be gone already. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err
  }
}

/** Removes the group and those below it, which must have no process, from every hierarchy. */
export async function removeCgroup(group: string): Promise<void> {
  for (const folder of cgroupFolders(group)) {
    for (let attempt = 0; existsSync(folder); attempt++) {
      try {
        removeTree(folder)
      } catch (err) {
        // A process that has just ended holds its group a moment longer.
        if (attempt >= 100) throw err
        await pause(50)
      }
    }
  }
}

function removeTree(folder: string): void {
  for (const child of childrenOf(folder)) removeTree(child)
  rmdirSync(folder)
}

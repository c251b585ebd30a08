import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { clustersFolder } from './layout.ts'
import type { Progress } from './progress.ts'

const setting = '/proc/sys/fs/inotify/max_user_instances'
/** What it was before the first cluster. */
const before = path.join(clustersFolder, 'max_user_instances')

/** Every kubelet and containerd watches files; the kernel's usual limit is made for a machine that is one node. */
export function allowFileWatches(nodes: number, progress: Progress): void {
  const needed = 1_024 + 64 * nodes
  const present = readFileSync(setting, 'utf8')
  if (Number(present) >= needed) return
  mkdirSync(clustersFolder, { recursive: true })
  if (!existsSync(before)) writeFileSync(before, present)
  progress.say(`fs.inotify.max_user_instances of this machine is ${needed} while clusters are up`)
  writeFileSync(setting, String(needed))
}

/** Puts the limit back; for when no cluster is left. */
export function restoreFileWatches(): void {
  if (!existsSync(before)) return
  writeFileSync(setting, readFileSync(before, 'utf8'))
  rmSync(before)
}

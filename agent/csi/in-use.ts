import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from '@nsm/sdk/log.js'
import type { CsiDriver } from './driver.ts'

export interface InUseOptions {
  readonly drivers: readonly CsiDriver[]
  readonly kubeletFolder: string
  readonly log: Logger
  /** Aborts when the process must end in any case. */
  readonly signal: AbortSignal
  /** Time between two looks; default 1 s. */
  readonly lookMs?: number
}

/**
 * Resolves when no pod of the node has a volume of these drivers any more, another process has taken the drivers over, or the signal aborts.
 * kubelet cannot end a pod whose volumes nobody unmounts.
 */
export async function untilUnused(options: InUseOptions): Promise<void> {
  const { drivers, kubeletFolder, log, signal, lookMs = 1_000 } = options
  const names = new Set(drivers.map(({ name }) => name))
  let told = -1
  while (!signal.aborted) {
    const volumes = await volumesOf(kubeletFolder, names)
    const taken = await Promise.all(drivers.map(async (driver) => driver.isReplaced()))
    if (volumes.length === 0 || taken.every(Boolean)) return
    if (volumes.length !== told)
      log.info({ volumes: volumes.slice(0, 20) }, 'staying until pods have let go of their volumes')
    told = volumes.length
    await pause(lookMs, undefined, { signal }).catch(() => undefined)
  }
}

/** `<pod UID>/<volume>` of the volumes that kubelet has of these drivers. */
async function volumesOf(kubeletFolder: string, drivers: ReadonlySet<string>): Promise<readonly string[]> {
  const pods = join(kubeletFolder, 'pods')
  const found: string[] = []
  for (const pod of await namesIn(pods)) {
    const folder = join(pods, pod, 'volumes', 'kubernetes.io~csi')
    for (const volume of await namesIn(folder))
      if (drivers.has(await driverOf(join(folder, volume, 'vol_data.json')))) found.push(`${pod}/${volume}`)
  }
  return found
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => [])
}

/** kubelet writes down whom to ask when it unmounts. */
async function driverOf(file: string): Promise<string> {
  try {
    const { driverName } = JSON.parse(await readFile(file, 'utf8')) as { driverName?: string }
    return driverName ?? ''
  } catch {
    return ''
  }
}

import { open, readFile } from 'node:fs/promises'
import {
  formatResolvConf,
  originalOf,
  paddedOriginal,
  parseResolvConf,
  type ResolvConf,
} from '@nsm/sdk/dns/resolv-conf.js'

/** The pod's resolv.conf under this process' care: every byte of the original comes back. */
export interface ResolvConfFile {
  /** What the pod resolved with before. */
  readonly original: ResolvConf
  /** Points the pod to the local resolver; a second call with the same text writes nothing. */
  takeOver(conf: ResolvConf): Promise<void>
  /** Puts the original back; nothing happens when it is there already. */
  restore(): Promise<void>
}

/**
 * Opens the file; one left by a killed predecessor is put right first.
 * It is a bind mount in a pod, which can't be replaced by rename: it is written in place by one write, then cut to length,
 * so that a kill in between leaves a file from which the original can be told.
 * A file that isn't there reads as an empty one.
 */
export async function openResolvConf(path: string): Promise<ResolvConfFile> {
  const found = await readFile(path).catch((err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT') return Buffer.alloc(0)
    throw err
  })
  const original = originalOf(found) ?? found
  let written: Buffer = found
  const write = async (content: Buffer): Promise<void> => {
    if (content.equals(written)) return
    const file = await open(path, 'r+')
    try {
      const whole = content === original ? paddedOriginal(content, written.length) : content
      await file.write(whole, 0, whole.length, 0)
      await file.truncate(content.length)
    } finally {
      await file.close()
    }
    written = content
  }
  // One that can't be put right now may be later: `restore` tries again and tells why not.
  await write(original).catch(() => undefined)
  return {
    original: parseResolvConf(original.toString('latin1')),
    takeOver: (conf) => write(formatResolvConf(conf, original)),
    restore: () => write(original),
  }
}

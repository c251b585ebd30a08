import { readdir, rm } from 'node:fs/promises'
import path from 'node:path'

/** Removes the work folders, named `name.XXXXXX`, of runs that were killed. Only for who holds the lock under which they are made. */
export async function removeLeftovers(folder: string, name: RegExp): Promise<void> {
  for (const entry of await readdir(folder)) {
    const [, of] = /^(.+)\.[A-Za-z0-9]{6}$/.exec(entry) ?? []
    if (of !== undefined && name.test(of))
      await rm(path.join(folder, entry), { recursive: true, force: true })
  }
}

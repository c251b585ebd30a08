import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { reasonOf, SpiffeError } from '../errors.ts'
import type { Issued } from './certificates.ts'
import { rootsFromPem, rootsToPem } from './root-pem.ts'
import type { RootStore } from './root-store.ts'

const maxFileBytes = 1024 * 1024

/**
 * Keeps the roots of one authority in a file across its restarts, mode 0600; a crash leaves the old file or the new one. Several authorities
 * cannot share it. Refuses a file that others may read, or that holds something else.
 */
export function keyFileStore(path: string): RootStore {
  return {
    read: async () => readKeyFile(path),
    async update(change) {
      const kept = await readKeyFile(path)
      const next = await change(kept)
      if (next === undefined) return kept
      await writeKeyFile(path, next)
      return next
    },
    onChange: () => () => undefined,
  }
}

/** Oldest first; none when there is no such file. */
async function readKeyFile(path: string): Promise<readonly Issued[]> {
  const file = await open(path, 'r').catch((err: unknown) => {
    if ((err as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw failed(path, reasonOf(err), err)
  })
  if (file === undefined) return []
  try {
    const { mode, size } = await file.stat()
    if ((mode & 0o077) !== 0)
      throw failed(path, `has mode ${(mode & 0o777).toString(8)}, but only its owner may have access`)
    if (size > maxFileBytes) throw failed(path, `is ${size} bytes long, at most ${maxFileBytes} are read`)
    return rootsFromPem(await file.readFile('latin1'), `key file ${path}`)
  } finally {
    await file.close()
  }
}

async function writeKeyFile(path: string, roots: readonly Issued[]): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(rootsToPem(roots))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(draft, path)
  } catch (err) {
    await rm(draft, { force: true })
    throw failed(path, reasonOf(err), err)
  }
}

function failed(path: string, why: string, cause?: unknown): SpiffeError {
  const options = cause === undefined ? undefined : { cause }
  return new SpiffeError('FAILED_PRECONDITION', `key file ${path}: ${why}`, options)
}

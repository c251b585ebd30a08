import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { reasonOf, SpiffeError } from '../errors.ts'
import type { Issued } from './certificates.ts'

const maxFileBytes = 1024 * 1024
const block = /-----BEGIN (CERTIFICATE|PRIVATE KEY)-----[^-]+-----END \1-----/g

/**
 * Reads the roots that an earlier run kept, oldest first; none when there is no such file.
 * @throws SpiffeError FAILED_PRECONDITION when others may read the file, or it holds something else.
 */
export async function readKeyFile(path: string): Promise<readonly Issued[]> {
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
    return parse(path, await file.readFile('latin1'))
  } finally {
    await file.close()
  }
}

/** Puts the roots into the file, mode 0600: a crash leaves the old file or the new one. */
export async function writeKeyFile(path: string, roots: readonly Issued[]): Promise<void> {
  const text = roots
    .flatMap(({ certificate, key }) => [certificate.toString(), key.export({ type: 'pkcs8', format: 'pem' })])
    .join('')
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  try {
    const file = await open(draft, 'wx', 0o600)
    try {
      await file.writeFile(text)
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

/** Pairs of a certificate and its key. */
function parse(path: string, text: string): readonly Issued[] {
  const blocks = text.match(block) ?? []
  const roots: Issued[] = []
  try {
    for (let i = 0; i + 1 < blocks.length; i += 2) {
      roots.push({
        certificate: new X509Certificate(blocks[i] ?? ''),
        key: createPrivateKey(blocks[i + 1] ?? ''),
      })
    }
  } catch (err) {
    throw failed(path, reasonOf(err), err)
  }
  const whole =
    blocks.length % 2 === 0 && roots.every(({ certificate, key }) => certificate.checkPrivateKey(key))
  if (roots.length === 0 || !whole)
    throw failed(path, 'does not hold pairs of a certificate and its private key')
  return roots
}

function failed(path: string, why: string, cause?: unknown): SpiffeError {
  const options = cause === undefined ? undefined : { cause }
  return new SpiffeError('FAILED_PRECONDITION', `key file ${path}: ${why}`, options)
}

import { NsmError } from '@nsm/sdk/errors.js'
import { rename, unlink, writeFile } from 'node:fs/promises'
import type { BundlePublisher } from './own-certificate.ts'

/** For those who are told of the authority by other means. */
export const noBundle: BundlePublisher = { publish: async () => undefined, close: () => undefined }

/** Writes the CA bundle to a file; readers never see half of it. */
export function bundleFile(path: string): BundlePublisher {
  return { publish: async (bundle) => writeWhole(path, bundle), close: () => undefined }
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`
  try {
    await writeFile(temporary, text, { mode: 0o644 })
    await rename(temporary, path)
  } catch (err) {
    await unlink(temporary).catch(() => undefined)
    throw new NsmError('UNAVAILABLE', `cannot write the CA bundle ${path}: ${String(err)}`, { cause: err })
  }
}

import { readFile } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Clock } from '@nsm/sdk/clock.js'
import type { Access, Credentials } from './access.ts'

const defaultFolder = '/var/run/secrets/kubernetes.io/serviceaccount'

/** kubelet replaces a token long before it ends. */
const rereadMs = 60_000

/**
 * Access of a pod by its service account; token and roots are read again as kubelet replaces them.
 * @throws NsmError FAILED_PRECONDITION when the folder lacks them
 */
export async function inCluster(
  address: { readonly host: string; readonly port: string },
  clock: Clock,
  folder: string = defaultFolder,
): Promise<Access> {
  const { host, port } = address
  const server = new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`)
  let current = await read(folder)
  let readAt = clock.now()
  const namespace = await readFile(join(folder, 'namespace'), 'utf8').catch(() => 'default')

  return {
    server,
    namespace: namespace.trim(),
    async credentials(renew) {
      if (!renew && Math.abs(clock.now() - readAt) < rereadMs) return current
      readAt = clock.now()
      // What was read before may still be good when the files can't be read now.
      current = await read(folder).catch(() => current)
      return current
    },
  }
}

async function read(folder: string): Promise<Credentials> {
  const [token, ca] = await Promise.all([file(folder, 'token'), file(folder, 'ca.crt')])
  return { headers: { authorization: `Bearer ${token.trim()}` }, tls: { ca } }
}

/** An empty one is none: without roots of its own a client would trust those of the whole world. */
async function file(folder: string, name: string): Promise<string> {
  try {
    const text = await readFile(join(folder, name), 'utf8')
    if (text.trim() === '') throw new Error('it is empty')
    return text
  } catch (cause) {
    const sentence = `the pod's service account has no ${name}: ${String(cause)}`
    throw new NsmError('FAILED_PRECONDITION', sentence, { cause })
  }
}

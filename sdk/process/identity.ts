import { SpiffeError } from '@nsm/spiffe/errors.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'
import type { Clock } from '../clock.ts'
import { NsmError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Check } from './checks.ts'

/**
 * The identity of this process from the Workload API at `address`, with its rotations; each is one log line, and so is each failed try.
 * Waits for the first one until the signal aborts.
 * @throws NsmError INVALID_ARGUMENT (address, or the call refused as such), or the signal's reason
 */
export async function openIdentity(address: string, log: Logger, signal: AbortSignal): Promise<X509Source> {
  const onProblem = (err: Error): void => log.warn({ address, err: err.message }, 'identity not renewed')
  const source = await x509Source({ address, signal, onProblem }).catch((err: unknown): never => {
    if (signal.aborted) throw NsmError.from(signal.reason)
    if (!(err instanceof SpiffeError)) throw err
    throw new NsmError(err.code, `SPIFFE_ENDPOINT_SOCKET: ${err.message}`, { cause: err })
  })
  const tell = (): void => {
    const [{ id, certificates }] = source.current.svids
    log.info({ spiffe_id: id, expires: new Date(certificates[0].validTo).toISOString() }, 'identity')
  }
  tell()
  source.onChange(tell)
  return source
}

/** Holds while the identity lives: without one nobody talks to this process. */
export function identityCheck(source: Pick<X509Source, 'current'>, clock: Clock): Check {
  return () => {
    const [{ id, certificates }] = source.current.svids
    return Date.parse(certificates[0].validTo) > clock.now() ? undefined : `the SVID of ${id} has expired`
  }
}

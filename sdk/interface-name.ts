import { createHash } from 'node:crypto'
import { maxInterfaceNameBytes } from '@nsm/api/interface-name.js'

const letters = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** Of these as many come from the service's name. */
const maxServiceBytes = 10

/**
 * Makes up the name of an interface (wire contract §2.2): the service's first letters, `-`, then letters and digits to full length.
 * What an interface name cannot have becomes `-`. One seed makes one name, so that a connection's interface
 * has the same name after a heal or a restart.
 */
export function newInterfaceName(networkService: string, seed: string): string {
  const service = networkService
    .replaceAll(/[^a-zA-Z0-9_.-]/g, '-')
    .replace(/^[^a-zA-Z0-9]+/, '')
    .slice(0, maxServiceBytes)
  const start = `${service === '' ? 'nsm' : service}-`
  const digest = createHash('sha256').update(seed).digest()
  const rest = [...digest.subarray(0, maxInterfaceNameBytes - start.length)]
  return start + rest.map((byte) => letters[byte % letters.length]).join('')
}

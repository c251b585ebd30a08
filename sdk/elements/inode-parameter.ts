import { mechanismParameters } from '@nsm/api/constants.js'
import type { Connection, Mechanism } from '@nsm/api/gen/connection.js'
import type { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { connectionOf } from '../chain.ts'
import { NsmError } from '../errors.ts'

/** Answers what is to stand instead of one `inodeURL`. */
export type SwapUrl = (url: string) => Promise<string> | string

/** Each of them may need a wait and a descriptor. */
const maxMechanisms = 32

/** The request with `swap` applied to every `inodeURL`, of the preferences and of the mechanism (wire contract §6.4). */
export async function swapInRequest(
  req: NetworkServiceRequest,
  swap: SwapUrl,
): Promise<NetworkServiceRequest> {
  const { length } = req.mechanismPreferences
  if (length > maxMechanisms) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `request has ${length} mechanism preferences, at most ${maxMechanisms}`,
    )
  }
  const mechanismPreferences: Mechanism[] = []
  for (const mechanism of req.mechanismPreferences) mechanismPreferences.push(await swapped(mechanism, swap))
  return { ...req, mechanismPreferences, connection: await swapInConnection(connectionOf(req), swap) }
}

/** The connection with `swap` applied to its mechanism's `inodeURL`. */
export async function swapInConnection(conn: Connection, swap: SwapUrl): Promise<Connection> {
  return conn.mechanism === undefined ? conn : { ...conn, mechanism: await swapped(conn.mechanism, swap) }
}

async function swapped(mechanism: Mechanism, swap: SwapUrl): Promise<Mechanism> {
  const url = mechanism.parameters[mechanismParameters.inodeUrl]
  if (url === undefined || url === '') return mechanism
  const instead = await swap(url)
  if (instead === url) return mechanism
  return { ...mechanism, parameters: { ...mechanism.parameters, [mechanismParameters.inodeUrl]: instead } }
}

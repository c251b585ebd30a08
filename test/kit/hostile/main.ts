import { text } from 'node:stream/consumers'
import { NsmError } from '@nsm/sdk/errors.js'
import { silent } from '@nsm/sdk/log.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { identityAttempts, netnsAttempts, registryAttempts } from './peers.ts'
import { nameAttempts, pathAttempts, theftAttempts, tokenAttempts } from './requests.ts'
import {
  agent,
  manager,
  ownNetns,
  ownTokens,
  session,
  type Attempt,
  type Attempts,
  type Orders,
} from './session.ts'

/**
 * Runs inside a pod of a mesh that is tested.
 *   self      tells who this pod is, with a token that it has made for the manager
 *   attack    takes orders from standard input, tries everything, and tells what became of it
 */
const [mode = ''] = process.argv.slice(2)

/** What a pod tells of itself. */
export interface Self {
  readonly id: string
  readonly token: string
  readonly netns: string
}

async function self(source: X509Source): Promise<Self> {
  const { peer } = await session(source, manager)
  const { token } = ownTokens(peer)
  return { id: peer.localSvid.id, token, netns: ownNetns()['inodeURL'] ?? '' }
}

async function attack(source: X509Source): Promise<Record<string, Attempt>> {
  const orders = JSON.parse(await text(process.stdin)) as Orders
  const all: Attempts = {
    ...tokenAttempts(source, orders),
    ...pathAttempts(source, orders),
    ...theftAttempts(source, orders),
    ...nameAttempts(source, orders),
    ...netnsAttempts(source, orders),
    ...registryAttempts(source, orders),
    ...(await identityAttempts(orders)),
  }
  const results: Record<string, Attempt> = {}
  for (const [name, attempt] of Object.entries(all)) results[name] = await outcomeOf(attempt)
  return results
}

async function outcomeOf(attempt: () => Promise<unknown>): Promise<Attempt> {
  try {
    return { code: 'OK', message: JSON.stringify(await attempt())?.slice(0, 500) ?? '' }
  } catch (err) {
    const { code, message } = NsmError.from(err)
    return { code, message }
  }
}

const source = await openIdentity(agent, silent, AbortSignal.timeout(10_000))
process.stdout.write(`${JSON.stringify(await (mode === 'self' ? self(source) : attack(source)))}\n`, () =>
  process.exit(0),
)

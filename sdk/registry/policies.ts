import { NsmError } from '../errors.ts'
import { clientAllowed, type Ownership } from '../policies/client-allowed.ts'
import { nextTokenSigned } from '../policies/next-token-signed.ts'
import type { Policy, TokenPath } from '../policies/policy.ts'
import { prevTokenNamesPeer } from '../policies/prev-token-names-peer.ts'
import { prevTokenSigned } from '../policies/prev-token-signed.ts'
import { tokensChained } from '../policies/tokens-chained.ts'
import { tokensExpired } from '../policies/tokens-expired.ts'
import { tokensValid } from '../policies/tokens-valid.ts'

/** What a registry policy looks at. */
export interface RegistryPolicyInput extends TokenPath, Ownership {}

export type RegistryPolicy = Policy<RegistryPolicyInput>

/** The policies under the names of upstream's files, by which masks choose them (§3.6). */
const files: Readonly<Record<string, readonly RegistryPolicy[]>> = {
  'etc/nsm/opa/common/tokens_valid.rego': [tokensValid],
  'etc/nsm/opa/common/tokens_expired.rego': [tokensExpired],
  'etc/nsm/opa/common/tokens_chained.rego': [tokensChained],
  'etc/nsm/opa/registry/client_allowed.rego': [clientAllowed],
  'etc/nsm/opa/server/prev_token_signed.rego': [prevTokenSigned, prevTokenNamesPeer],
  'etc/nsm/opa/client/next_token_signed.rego': [nextTokenSigned],
}

/** Values of NSM_REGISTRY_SERVER_POLICIES and NSM_REGISTRY_CLIENT_POLICIES when unset (§7.1). */
export const serverPolicyMasks: readonly string[] = masksOf('server')
export const clientPolicyMasks: readonly string[] = masksOf('client')

/** The policies whose upstream file names a mask (a regular expression) describes whole. @throws NsmError INVALID_ARGUMENT for a mask that is none. */
export function registryPolicies(masks: readonly string[]): RegistryPolicy[] {
  const patterns = masks.map(compile)
  return Object.entries(files)
    .filter(([file]) => patterns.some((pattern) => pattern.test(file)))
    .flatMap(([, policies]) => policies)
}

function masksOf(half: 'server' | 'client'): string[] {
  return ['common', 'registry', half].map((folder) => `etc/nsm/opa/${folder}/.*.rego`)
}

function compile(mask: string): RegExp {
  try {
    return new RegExp(`^(?:${mask})$`)
  } catch (err) {
    throw new NsmError('INVALID_ARGUMENT', `policy mask ${mask} is not a regular expression`, { cause: err })
  }
}

import { PolicyRoute } from '@nsm/api/gen/connectioncontext.js'
import * as v from 'valibot'
import { parse } from 'yaml'
import type { Logger } from '../log.ts'
import { parseAddress, parsePrefix } from '../net/prefix.ts'
import { watchFile } from '../watched-file.ts'

export interface PolicyRoutesFile {
  /** What the file says now; nothing while there is none. */
  policies(): readonly PolicyRoute[]
  close(): void
}

/** One routing table each in every client. */
const maxPolicies = 250

const textOrNumber = v.pipe(
  v.union([v.string(), v.number()], 'must be a text or a number'),
  v.transform(String),
)
const prefix = v.pipe(
  v.string('must be a prefix as 172.16.2.0/24'),
  v.check((text) => parsePrefix(text) !== undefined, 'must be a prefix as 172.16.2.0/24'),
)
const address = v.pipe(
  v.string('must be an address without length'),
  v.check((text) => text === '' || parseAddress(text) !== undefined, 'must be an address without length'),
)
const port = v.pipe(textOrNumber, v.check(isPortRange, 'must be a port or a range of ports as 6000-6999'))
const protocol = v.pipe(
  textOrNumber,
  v.check(
    (text) => /^\d{1,3}$/.test(text) && Number(text) <= 255,
    'must be the number of an IP protocol, as 6 for TCP or 17 for UDP',
  ),
)
const route = v.strictObject(
  { prefix, nexthop: v.optional(address, '') },
  'must be a mapping with prefix and nexthop',
)
const policy = v.pipe(
  v.strictObject(
    {
      from: v.optional(prefix),
      proto: v.optional(protocol),
      dstport: v.optional(port),
      srcport: v.optional(port),
      routes: v.optional(v.array(route, 'must be a list'), []),
    },
    'must be a mapping with from, proto, dstport, srcport and routes only',
  ),
  v.transform(({ from, proto, dstport, srcport, routes }) =>
    PolicyRoute.fromPartial({
      from: from ?? '',
      proto: proto ?? '',
      dstPort: dstport ?? '',
      srcPort: srcport ?? '',
      routes: routes.map(({ prefix: to, nexthop }) => ({ prefix: to, nextHop: nexthop })),
    }),
  ),
)
const file = v.pipe(
  v.nullish(v.array(policy, 'must be a list'), []),
  v.maxLength(maxPolicies, `must have at most ${maxPolicies} entries`),
)

/** Follows NSM_PBR_CONFIG_PATH (wire contract §7.2): a YAML list of policies. A faulty file is logged, and what it said before goes on. */
export async function policyRoutesFile(path: string, log: Logger): Promise<PolicyRoutesFile> {
  let policies: readonly PolicyRoute[] = []
  const watched = await watchFile(
    path,
    (text) => {
      policies = text === undefined ? [] : parsePolicyRoutes(text)
      log.info({ path, policies: policies.length }, 'policy routes taken over')
    },
    { log },
  )
  return { policies: () => policies, close: () => watched.close() }
}

/** Reads the file's text; keys in any case. @throws Error that names the first faulty entry. */
export function parsePolicyRoutes(text: string): PolicyRoute[] {
  const result = v.safeParse(file, lowerKeys(parse(text, { maxAliasCount: 0 }), 4))
  if (result.success) return result.output
  const [issue] = result.issues
  throw new Error(`${v.getDotPath(issue) ?? 'the file'} ${issue.message}`)
}

function lowerKeys(value: unknown, depth: number): unknown {
  if (depth === 0 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => lowerKeys(item, depth - 1))
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name.toLowerCase(), lowerKeys(item, depth - 1)]),
  )
}

function isPortRange(text: string): boolean {
  const [, low, high = low] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text) ?? []
  return low !== undefined && Number(low) <= Number(high) && Number(high) <= 65_535
}

import type {
  AddressInfo,
  Change,
  LinkInfo,
  NamespaceState,
  RouteInfo,
  RuleInfo,
} from '@nsm/native/surface.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { parsePrefix } from '@nsm/sdk/net/prefix.js'
import { isMeshAlias } from './link-names.ts'
import { freeTables, selectorKey, type WantedPolicy } from './policy.ts'
import { networkOf } from './prefix-text.ts'
import type { WantedRoute } from './route.ts'
import type { WantedSide } from './side.ts'

/** The routing table that everything looks up. */
const mainTable = 254
/** Tables of the kernel's and of nobody's; never touched. */
const systemTables: ReadonlySet<number> = new Set([0, 253, 254, 255])

/** One end of a link as it is to be. */
export interface WantedLink {
  readonly name: string
  readonly alias: string
  readonly mtu: number
  readonly mac: string
  /** IFLA_GROUP of our links: routes and addresses of theirs may be replaced, a pod's own may not. */
  readonly group: number
}

/**
 * The changes that make one end what it is to be, from what is there now; none when all is as wanted (wire contract §6.2).
 * With `isNew` the settings of the namespace that one write is enough for are written as well.
 * @throws NsmError FAILED_PRECONDITION when an address or a route is the pod's own on another interface.
 */
export function plan(link: WantedLink, side: WantedSide, state: NamespaceState, isNew: boolean): Change[] {
  const settings = settingsOf(link.name, side, isNew)
  if (!side.configured) return [...settings, ...linkChanges(link, state)]
  refuseForeign(link, side, state)
  return [
    ...settings,
    ...linkChanges(link, state),
    ...addressChanges(link.name, side, state),
    ...routeChanges(link.name, side, state),
    ...policyChanges(link.name, side.policies, state),
    ...neighbourChanges(link.name, side, state),
  ]
}

/** The changes that take away what does not go with the link: the rules of its policies. */
export function planRemoval(name: string, state: NamespaceState): Change[] {
  const tables = policyTables(name, state)
  return state.rules.filter(({ table }) => tables.has(table)).map(ruleRemoval)
}

function settingsOf(name: string, side: WantedSide, isNew: boolean): Change[] {
  if (!isNew) return []
  const device = name.replaceAll('.', '/')
  const v6 = `net.ipv6.conf.${device}`
  return [
    { op: 'sysctl', name: 'net.ipv4.ping_group_range', value: '0 2147483647' },
    // The other side must not be able to make itself a router of this pod.
    { op: 'sysctl', name: `${v6}.accept_ra`, value: '0', ifPresent: true },
    { op: 'sysctl', name: `${v6}.accept_redirects`, value: '0', ifPresent: true },
    ...(side.routeLocalNet
      ? [{ op: 'sysctl' as const, name: `net.ipv4.conf.${device}.route_localnet`, value: '1' }]
      : []),
    ...(needsIpv6(side) ? [{ op: 'sysctl' as const, name: `${v6}.disable_ipv6`, value: '0' }] : []),
  ]
}

/** Without IPv6 in the pod the kernel refuses routes of that family as well as addresses. */
function needsIpv6({ addresses, routes, policies }: WantedSide): boolean {
  const all = [...routes, ...policies.flatMap((policy) => policy.routes)].map(({ prefix }) => prefix)
  return [...addresses, ...all].some((prefix) => prefix.includes(':'))
}

function linkChanges({ name, alias, mtu, mac, group }: WantedLink, state: NamespaceState): Change[] {
  const link = state.links.find((one) => one.name === name)
  const change = {
    ...(link?.up === true ? {} : { up: true }),
    ...(link?.alias === alias ? {} : { alias }),
    ...(link === undefined || link.mtu === mtu ? {} : { mtu }),
    ...(link === undefined || link.mac === mac ? {} : { mac }),
    ...(link === undefined || link.group === group ? {} : { group }),
  }
  return Object.keys(change).length === 0 ? [] : [{ op: 'link', name, ...change }]
}

function addressChanges(dev: string, { addresses }: WantedSide, state: NamespaceState): Change[] {
  const present = state.addresses
    .filter((one) => one.dev === dev && one.scope === 'global')
    .map(({ prefix }) => prefix)
  const gone = present.filter((prefix) => !addresses.includes(prefix))
  const missing = addresses.filter((prefix) => !present.includes(prefix))
  return [
    ...gone.map((prefix): Change => ({ op: 'delete-address', dev, prefix })),
    ...missing.map((prefix): Change => ({ op: 'address', dev, prefix })),
  ]
}

function routeChanges(dev: string, side: WantedSide, state: NamespaceState): Change[] {
  const present = state.routes.filter((route) => route.dev === dev && route.table === mainTable)
  const addresses = [
    ...side.addresses,
    ...state.addresses.filter((one) => one.dev === dev).map(({ prefix }) => prefix),
  ]
  const made = new Set(['fe80::/64', ...addresses.map(networkOfText)])
  const wanted = new Set(side.routes.map(({ prefix }) => prefix))
  const gone = present.filter(({ prefix }) => !wanted.has(prefix) && !made.has(prefix))
  return [
    ...gone.map(removal),
    ...inOrder(side.routes.filter((route) => !present.some((one) => isSameRoute(route, one)))).map((route) =>
      setting(dev, route),
    ),
  ]
}

/** Each policy keeps its table; one whose rule is gone gets the lowest free one, in list order. */
function policyChanges(dev: string, policies: readonly WantedPolicy[], state: NamespaceState): Change[] {
  const own = policyTables(dev, state)
  const inUse = new Set([...state.routes.map(({ table }) => table), ...systemTables])
  const wanted = new Map(policies.map((policy) => [selectorKey(policy.selector), policy] as const))
  // A rule of ours whose table is empty lost its routes when the link went down.
  const isOwn = (rule: RuleInfo): boolean =>
    own.has(rule.table) || (!inUse.has(rule.table) && wanted.has(selectorKey(rule)))
  const present = new Map(state.rules.filter(isOwn).map((rule) => [selectorKey(rule), rule] as const))
  const gone = [...present].filter(([key]) => !wanted.has(key)).map(([, rule]) => rule)
  const goneTables = new Set(gone.map(({ table }) => table))
  const nextTable = freeTables(state)
  return [
    ...gone.map(ruleRemoval),
    ...state.routes.filter(({ table }) => goneTables.has(table)).map(removal),
    ...[...wanted].flatMap(([key, policy]) =>
      tableChanges(dev, policy, present.get(key)?.table, { state, nextTable }),
    ),
  ]
}

/** The routes of one policy's table, and its rule when it has none yet. */
function tableChanges(
  dev: string,
  { selector, routes }: WantedPolicy,
  known: number | undefined,
  { state, nextTable }: { readonly state: NamespaceState; readonly nextTable: () => number },
): Change[] {
  const table = known ?? nextTable()
  const there = state.routes.filter((route) => route.table === table)
  const missing = routes.filter((route) => !there.some((one) => isSameRoute(route, one)))
  const surplus = there.filter(({ prefix }) => !routes.some((route) => route.prefix === prefix))
  const changes = [...surplus.map(removal), ...inOrder(missing).map((route) => setting(dev, route, table))]
  return known === undefined ? [...changes, { op: 'rule', ...selector, table }] : changes
}

/** Tables whose routes all go through `dev`: they are its policies'. */
function policyTables(dev: string, { routes }: NamespaceState): Set<number> {
  const tables = new Set(routes.filter((route) => route.dev === dev).map(({ table }) => table))
  const shared = routes.filter((route) => route.dev !== dev).map(({ table }) => table)
  for (const table of [...shared, ...systemTables]) tables.delete(table)
  return tables
}

function neighbourChanges(dev: string, { neighbours }: WantedSide, state: NamespaceState): Change[] {
  const present = state.neighbours.filter((one) => one.dev === dev)
  const gone = present.filter(
    (one) => one.state === 'permanent' && one.mac !== '' && !neighbours.some(({ ip }) => ip === one.ip),
  )
  const missing = neighbours.filter(
    ({ ip, mac, state: wanted }) =>
      !present.some(
        (one) => one.ip === ip && one.mac === mac && (one.state === 'permanent') === (wanted === 'permanent'),
      ),
  )
  return [
    ...gone.map(({ ip, mac }): Change => ({ op: 'delete-neighbour', dev, ip, mac, state: 'permanent' })),
    ...missing.map(({ ip, mac, state: wanted }): Change => ({
      op: 'neighbour',
      dev,
      ip,
      mac,
      state: wanted,
    })),
  ]
}

/** A route or an address that the pod has on an interface of its own is not ours to replace. */
function refuseForeign({ group, name }: WantedLink, side: WantedSide, state: NamespaceState): void {
  const isOurs = (link: LinkInfo): boolean => link.group === group || isMeshAlias(link.alias)
  const foreign = new Set(state.links.filter((link) => !isOurs(link)).map((link) => link.name))
  foreign.delete(name)
  const route = state.routes.find(
    (one) =>
      foreign.has(one.dev) &&
      one.table === mainTable &&
      side.routes.some(({ prefix }) => prefix === one.prefix),
  )
  if (route !== undefined) throw taken(`route ${route.prefix}`, route)
  const hosts = new Set(side.addresses.map(hostOf))
  const address = state.addresses.find((one) => foreign.has(one.dev) && hosts.has(hostOf(one.prefix)))
  if (address !== undefined) throw taken(`address ${address.prefix}`, address)
}

function taken(what: string, { dev }: RouteInfo | AddressInfo): NsmError {
  return new NsmError(
    'FAILED_PRECONDITION',
    `${what} of the connection context is the pod's own already, on ${dev}`,
  )
}

/** Routes without gateway first: a gateway may have to be reached through them. */
function inOrder(routes: readonly WantedRoute[]): WantedRoute[] {
  const isDirect = (route: WantedRoute): boolean => route.gateway === undefined
  return [...routes.filter(isDirect), ...routes.filter((route) => !isDirect(route))]
}

function setting(dev: string, { prefix, gateway, scope }: WantedRoute, table?: number): Change {
  return {
    op: 'route',
    dev,
    prefix,
    scope,
    ...(gateway === undefined ? {} : { gateway, onlink: true }),
    ...(table === undefined ? {} : { table }),
  }
}

function ruleRemoval(rule: RuleInfo): Change {
  return { op: 'delete-rule', ...rule }
}

function removal({ dev, prefix, table, gateway, scope }: RouteInfo): Change {
  const route = {
    op: 'delete-route' as const,
    dev,
    prefix,
    table,
    scope: scope === 'link' ? ('link' as const) : ('global' as const),
  }
  return gateway === undefined ? route : { ...route, gateway }
}

/** IPv6 knows no scopes of routes. */
function isSameRoute(wanted: WantedRoute, present: RouteInfo): boolean {
  return (
    wanted.prefix === present.prefix &&
    wanted.gateway === present.gateway &&
    (wanted.scope === present.scope || wanted.prefix.includes(':'))
  )
}

function networkOfText(text: string): string {
  const prefix = parsePrefix(text)
  return prefix === undefined ? text : networkOf(prefix)
}

function hostOf(prefix: string): string {
  return prefix.slice(0, prefix.indexOf('/'))
}

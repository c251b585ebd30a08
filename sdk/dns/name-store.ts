import type { Answer } from 'dns-packet'
import { formatAddress, parseAddress, type Address } from '../net/prefix.ts'
import type { Reply } from './message.ts'
import { domainName } from './view.ts'

/** Names that this process itself answers for, with the way back from their addresses. */
export interface NameStore {
  /** Gives an owner its names, in place of those that it had; each has all the addresses. What is no name or no address is left out. */
  set(owner: string, names: readonly string[], addresses: readonly string[]): void
  remove(owner: string): void
  /** undefined = somebody else may know: a name outside the zones, an address without a name here. */
  answer(question: { readonly name: string; readonly type: string }): Reply | undefined
}

export interface NameStoreOptions {
  /** Domains that have no names but those here, so that others do not exist. */
  readonly zones?: readonly string[]
  readonly ttlSeconds?: number
}

/** As a vL3 hands them out (wire contract §10.4). */
const defaultTtlSeconds = 3_600
const negativeTtlSeconds = 5
const maxOwners = 65_536
const maxNames = 64
const maxAddresses = 64

interface Owned {
  readonly names: readonly string[]
  readonly addresses: readonly Address[]
}

export function nameStore({ zones = [], ttlSeconds = defaultTtlSeconds }: NameStoreOptions = {}): NameStore {
  const owners = new Map<string, Owned>()
  const byName = new Map<string, Set<Owned>>()
  const byAddress = new Map<string, Set<Owned>>()
  /** Every name and every domain above it: how many names need it. */
  const existing = new Map<string, number>()
  const own = zones.map(domainName).filter((zone) => zone !== undefined)

  function remove(owner: string): void {
    const owned = owners.get(owner)
    if (owned === undefined) return
    owners.delete(owner)
    for (const name of owned.names) {
      drop(byName, name, owned)
      for (const domain of upwards(name)) count(existing, domain, -1)
    }
    for (const address of owned.addresses) drop(byAddress, reverseName(address), owned)
  }

  function records(name: string, type: string): Answer[] {
    const plain = name.slice(0, -1)
    if (type === 'PTR')
      return [...(byAddress.get(name) ?? [])]
        .flatMap(({ names }) => names.slice(0, 1))
        .map((target) => ({ name: plain, type: 'PTR', ttl: ttlSeconds, data: target.slice(0, -1) }))
    const family = { A: 4, AAAA: 6 }[type]
    const all = [...(byName.get(name) ?? [])].flatMap(({ addresses }) => addresses)
    const texts = new Set(all.filter((address) => address.family === family).map(formatAddress))
    return [...texts].map((data) => ({ name: plain, type: type as 'A', ttl: ttlSeconds, data }))
  }

  return {
    set(owner, names, addresses) {
      remove(owner)
      if (owners.size >= maxOwners) return
      const owned: Owned = {
        names: [...new Set(names.map(domainName))].filter((name) => name !== undefined).slice(0, maxNames),
        addresses: addresses
          .map(parseAddress)
          .filter((address) => address !== undefined)
          .slice(0, maxAddresses),
      }
      owners.set(owner, owned)
      for (const name of owned.names) {
        add(byName, name, owned)
        for (const domain of upwards(name)) count(existing, domain, 1)
      }
      for (const address of owned.addresses) add(byAddress, reverseName(address), owned)
    },
    remove,
    answer({ name, type }) {
      const answers = records(name, type)
      if (answers.length > 0) return reply('NOERROR', answers)
      const zone = own.find((domain) => name === domain || name.endsWith(`.${domain}`))
      if (byName.has(name) || byAddress.has(name) || (zone !== undefined && existing.has(name)))
        return reply('NOERROR', [], zone ?? name)
      return zone === undefined || name === zone ? noSuch(zone) : reply('NXDOMAIN', [], zone)
    },
  }
}

function noSuch(zone: string | undefined): Reply | undefined {
  return zone === undefined ? undefined : reply('NOERROR', [], zone)
}

function reply(rcode: 'NOERROR' | 'NXDOMAIN', answers: readonly Answer[], soaOf?: string): Reply {
  return {
    rcode,
    authoritative: true,
    authenticated: false,
    answers,
    authorities: soaOf === undefined ? [] : [soa(soaOf.slice(0, -1))],
    additionals: [],
  }
}

function soa(zone: string): Answer {
  const data = {
    mname: `ns.${zone}`,
    rname: `hostmaster.${zone}`,
    serial: 1,
    refresh: 3_600,
    retry: 600,
    expire: 86_400,
    minimum: negativeTtlSeconds,
  }
  return { name: zone, type: 'SOA', ttl: negativeTtlSeconds, data }
}

/** The name under which an address is looked up (RFC 1035 §3.5, RFC 3596 §2.5). */
export function reverseName({ family, value }: Address): string {
  if (family === 4)
    return `${formatAddress({ family, value }).split('.').toReversed().join('.')}.in-addr.arpa.`
  const digits = value.toString(16).padStart(32, '0')
  return `${Array.from(digits).toReversed().join('.')}.ip6.arpa.`
}

function upwards(name: string): string[] {
  const labels = name.slice(0, -1).split('.')
  return labels.map((_, i) => `${labels.slice(i).join('.')}.`)
}

function add(map: Map<string, Set<Owned>>, key: string, owned: Owned): void {
  const known = map.get(key)
  if (known === undefined) map.set(key, new Set([owned]))
  else known.add(owned)
}

function drop(map: Map<string, Set<Owned>>, key: string, owned: Owned): void {
  const known = map.get(key)
  known?.delete(owned)
  if (known?.size === 0) map.delete(key)
}

function count(map: Map<string, number>, key: string, by: number): void {
  const now = (map.get(key) ?? 0) + by
  if (now > 0) map.set(key, now)
  else map.delete(key)
}

import type { Connection } from '@nsm/api/gen/connection.js'
import { DNSConfig, DNSContext } from '@nsm/api/gen/connectioncontext.js'
import { connectionOf, type Element } from '../chain.ts'
import { ipContextOf, withContext } from '../connection-context.ts'
import type { NameStore } from '../dns/name-store.ts'
import { NsmError } from '../errors.ts'
import { expandTemplate, type TemplateData } from '../match/template.ts'

export interface DnsNamesOptions {
  /** Whoever serves it answers for the clients. */
  readonly store: NameStore
  /**
   * Names of a client, in Go's text/template over its connection (NSM_DNS_TEMPLATES, wire contract §7.2), such as
   * `{{ index .Labels "podName" }}.{{ .NetworkService }}.`; `target` and `domain` take a `name@domain` apart.
   */
  readonly templates: readonly string[]
  /** Address of the DNS server that clients are told; undefined = not known yet. */
  readonly server: () => string | undefined
}

/**
 * Gives each client names that lead to its addresses, and the DNS server that knows them (wire contract §10.4).
 * Put it behind the element that hands out the addresses. @throws NsmError UNAVAILABLE until the server is known
 */
export function dnsNames({ store, templates, server }: DnsNamesOptions): Element {
  return {
    name: 'dns names',

    async request(ctx, req, next) {
      const address = server()
      if (address === undefined) throw new NsmError('UNAVAILABLE', 'DNS address is initializing')
      const conn = connectionOf(req)
      const data = dataOf(conn)
      const domains = templates.map((template) => plain(expand(domainPart(template), data)))
      const config = DNSConfig.fromPartial({
        dnsServerIps: [address],
        searchDomains: [...new Set(domains)].filter((domain) => domain !== ''),
      })
      const before = conn.context?.dnsContext ?? DNSContext.fromPartial({})
      const others = before.configs.filter(({ dnsServerIps }) => !dnsServerIps.includes(address))
      const dnsContext = { ...before, configs: [...others, config] }
      const answer = await next.request(ctx, { ...req, connection: withContext(conn, { dnsContext }) })
      const addresses = ipContextOf(answer).srcIpAddrs.map((prefix) => prefix.split('/', 1)[0] ?? '')
      store.set(
        conn.id,
        templates.map((template) => expand(template, data)),
        addresses,
      )
      return answer
    },

    async close(ctx, conn, next) {
      store.remove(conn.id)
      await next.close(ctx, conn)
    },
  }
}

/** Fields as Go has them, and the two halves of `name@domain` for the helper functions. */
function dataOf({
  id,
  networkService,
  networkServiceEndpointName,
  labels,
  payload,
}: Connection): TemplateData {
  const named = { NetworkService: networkService, NetworkServiceEndpointName: networkServiceEndpointName }
  const halves = Object.entries(named).flatMap(([field, text]): [string, string][] => {
    const at = text.indexOf('@')
    return [
      [`target_${field}`, at < 0 ? text : text.slice(0, at)],
      [`domain_${field}`, at < 0 ? '' : text.slice(at + 1)],
    ]
  })
  return { ...Object.fromEntries(halves), ...named, Id: id, Payload: payload, Labels: labels }
}

/** `{{ target .X }}` and `{{ .X | target }}` are fields of their own here. */
function expand(template: string, data: TemplateData): string {
  const fields = template
    .replaceAll(/(\{\{-?\s*)(target|domain)\s+\.(\w{1,64})/g, '$1.$2_$3')
    .replaceAll(/(\{\{-?\s*)\.(\w{1,64})\s*\|\s*(target|domain)\b/g, '$1.$3_$2')
  return expandTemplate(fields, data)
}

/** What stands behind the client's own part of the name. */
function domainPart(template: string): string {
  const [, behindAction] = /^\{\{[^}]*\}\}\.(.*)$/s.exec(template) ?? []
  return behindAction ?? template.slice(template.indexOf('.') + 1)
}

function plain(domain: string): string {
  return domain.replace(/\.$/, '')
}

import { isIP } from 'node:net'
import { reverseName } from '@nsm/sdk/dns/name-store.js'
import type { ServerAnswer } from '@nsm/sdk/dns/message.js'
import { upstream } from '@nsm/sdk/dns/upstream.js'
import { parseAddress } from '@nsm/sdk/net/prefix.js'
import { ndotsOf, type ResolvConf } from '@nsm/sdk/dns/resolv-conf.js'

/** How one name was resolved. */
export interface Found {
  /** The whole name that was answered for, or the last one that was tried. */
  readonly name: string
  readonly type: string
  readonly rcode: string
  readonly records: readonly { readonly name: string; readonly type: string; readonly data: string }[]
  /** The server of resolv.conf that was asked; empty when none answered. */
  readonly asked: string
  /** Where that one had the answer from, when it tells: an address, or `cache`. */
  readonly answeredBy: string
  readonly ms: number
  /** What went wrong on the way, such as a server that did not answer. */
  readonly faults: readonly string[]
}

const timeoutMs = 5_000

/** Asks as the C library would: the search list by `ndots`, the servers in their order; the first name with records counts. */
export async function ask(
  conf: ResolvConf,
  wanted: { readonly name: string; readonly type: string },
  signal: AbortSignal,
): Promise<Found> {
  const began = performance.now()
  const address = isIP(wanted.name) === 0 ? undefined : parseAddress(wanted.name)
  const type = address === undefined ? wanted.type.toUpperCase() : 'PTR'
  const names = address === undefined ? candidates(conf, wanted.name) : [reverseName(address)]
  const faults: string[] = []
  let last: Found = nothing(names[0] ?? wanted.name, type)
  for (const name of names) {
    for (const server of conf.nameservers) {
      const one = upstream(server, { port: 53, timeoutMs })
      try {
        const answer = await one.ask(
          { name: name.toLowerCase(), type, wantsDnssec: false, wantsOrigin: true },
          signal,
        )
        last = foundIn(answer, { name, type, asked: server })
        break
      } catch (err) {
        signal.throwIfAborted()
        faults.push(`${server}: ${err instanceof Error ? err.message : String(err)}`)
      } finally {
        one.close()
      }
    }
    if (last.records.length > 0) break
  }
  return { ...last, ms: Math.round((performance.now() - began) * 10) / 10, faults }
}

function candidates(conf: ResolvConf, name: string): readonly string[] {
  if (name.endsWith('.')) return [name]
  const searched = conf.search.map((domain) => `${name}.${domain}.`)
  const isWhole = name.split('.').length - 1 >= ndotsOf(conf)
  return isWhole ? [`${name}.`, ...searched] : [...searched, `${name}.`]
}

function nothing(name: string, type: string): Found {
  return { name, type, rcode: 'no answer', records: [], asked: '', answeredBy: '', ms: 0, faults: [] }
}

function foundIn(
  { rcode, answers, origin = '' }: ServerAnswer,
  { name, type, asked }: { readonly name: string; readonly type: string; readonly asked: string },
): Found {
  const records = answers.map((record) => ({ name: record.name, type: record.type, data: dataOf(record) }))
  return { ...nothing(name, type), rcode: String(rcode), records, asked, answeredBy: origin }
}

function dataOf(record: ServerAnswer['answers'][number]): string {
  if (!('data' in record)) return ''
  const { data } = record
  if (typeof data === 'string') return data
  if (Buffer.isBuffer(data)) return data.toString('latin1')
  return Array.isArray(data) ? data.map(String).join(' ') : JSON.stringify(data)
}

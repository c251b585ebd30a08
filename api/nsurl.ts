import { localMechanisms, type LocalMechanism } from './constants.ts'
import { interfaceNameFault } from './interface-name.ts'

/** One connection that a client wishes: `kernel://service@domain/nsm-1?app=x` (wire contract §7.3). */
export interface NsUrl {
  /** Mechanism type; its class is LOCAL. */
  readonly mechanism: LocalMechanism
  /** Name of the service, with `@domain` when it is another domain's. */
  readonly networkService: string
  /** Absent = made up by the client. */
  readonly interfaceName: string | undefined
  /** Values of a key that is given several times are joined with commas. */
  readonly labels: Readonly<Record<string, string>>
}

/** A text that is no Network Service URL, or no list of them. */
export class NsUrlError extends Error {
  /** Where in the text, in UTF-16 code units from 0. */
  readonly position: number
  /** What stands there; cut when long. */
  readonly found: string
  /** What would be right there, for people. */
  readonly expected: string

  constructor(text: string, position: number, expected: string, length = 1) {
    const found = text.slice(position, position + Math.min(Math.max(length, 1), 40))
    super(
      `network service URL, position ${position}: found ${found === '' ? 'the end' : JSON.stringify(found)}, expected ${expected}`,
    )
    this.name = 'NsUrlError'
    this.position = position
    this.found = found
    this.expected = expected
  }
}

/** Longest text that is looked at, in bytes. */
const maxBytes = 4096
/** Longest service name, as that of a Kubernetes object. */
const maxServiceBytes = 253

const schemes = new Map<string, LocalMechanism>(localMechanisms.map((type) => [type.toLowerCase(), type]))
const serviceName = /[a-zA-Z0-9](?:[a-zA-Z0-9._-]*[a-zA-Z0-9])?/y
const labelKey = /^[a-zA-Z0-9](?:[a-zA-Z0-9._/-]*[a-zA-Z0-9])?$/
// RFC 3986 `query`, less what separates: & , ; and in keys =
const keyText = /(?:[a-zA-Z0-9._~!$'()*:@/?+-]|%[0-9a-fA-F]{2})*/y
const valueText = /(?:[a-zA-Z0-9._~!$'()*:@/?+=-]|%[0-9a-fA-F]{2})*/y

/** Reads one URL that fills the whole text. @throws NsUrlError */
export function parseNsUrl(text: string): NsUrl {
  checkText(text)
  const { url, end } = urlAt(text, 0)
  if (end < text.length)
    throw new NsUrlError(text, end, 'the end of the URL (a comma in a label is written %2C)')
  return url
}

/** Reads URLs separated by commas; no two may name the same interface. @throws NsUrlError */
export function parseNsUrls(text: string): NsUrl[] {
  checkText(text)
  const { urls, end } = urlsAt(text, 0, new Set())
  if (end < text.length)
    throw new NsUrlError(text, end, '"," and another URL, or the end (a comma in a label is written %2C)')
  return urls
}

/**
 * Reads awareness groups, `[url,url],[url]`; an empty text has none.
 * Connections of one group may get overlapping addresses. @throws NsUrlError
 */
export function parseAwarenessGroups(text: string): NsUrl[][] {
  if (text === '') return []
  checkText(text)
  const groups: NsUrl[][] = []
  const interfaces = new Set<string>()
  for (let at = 0; ; at++) {
    if (text[at] !== '[') throw new NsUrlError(text, at, '"[" that opens a group')
    const { urls, end } = urlsAt(text, at + 1, interfaces)
    if (text[end] !== ']')
      throw new NsUrlError(text, end, '"," and another URL, or "]" that closes the group')
    groups.push(urls)
    at = end + 1
    if (at === text.length) return groups
    if (text[at] !== ',') throw new NsUrlError(text, at, '"," and another group, or the end')
  }
}

/** Writes a URL so that reading it gives the same again; labels in their own order. */
export function printNsUrl(url: NsUrl): string {
  const path = url.interfaceName === undefined ? '' : `/${url.interfaceName}`
  const query = Object.entries(url.labels).map(([name, value]) => `${encode(name)}=${encode(value)}`)
  return `${url.mechanism.toLowerCase()}://${url.networkService}${path}${query.length > 0 ? `?${query.join('&')}` : ''}`
}

function encode(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%40', '@')
}

function checkText(text: string): void {
  if (text.length > maxBytes) throw new NsUrlError(text, maxBytes, `at most ${maxBytes} bytes`)
  const odd = text.search(/[^\x21-\x7e]/)
  if (odd >= 0)
    throw new NsUrlError(text, odd, 'a printable ASCII character without space (others are percent-encoded)')
}

interface UrlAt {
  readonly url: NsUrl
  /** Where its interface name stands, if it has one. */
  readonly nameStart: number
  readonly end: number
}

function urlsAt(text: string, start: number, interfaces: Set<string>): { urls: NsUrl[]; end: number } {
  const urls: NsUrl[] = []
  for (let at = start; ; at++) {
    const { url, end, nameStart } = urlAt(text, at)
    const name = url.interfaceName
    if (name !== undefined && interfaces.has(name)) {
      throw new NsUrlError(text, nameStart, 'another interface name: this one is given twice', name.length)
    }
    if (name !== undefined) interfaces.add(name)
    urls.push(url)
    at = end
    if (text[at] !== ',') return { urls, end }
  }
}

function urlAt(text: string, start: number): UrlAt {
  const { mechanism, end: schemeEnd } = schemeAt(text, start)
  const { networkService, end: serviceEnd } = serviceAt(text, schemeEnd)
  const { interfaceName, end: pathEnd } = interfaceAt(text, serviceEnd)
  const { labels, end } = labelsAt(text, pathEnd)
  return { url: { mechanism, networkService, interfaceName, labels }, nameStart: serviceEnd + 1, end }
}

function schemeAt(text: string, start: number): { mechanism: LocalMechanism; end: number } {
  const scheme = /^[^:/?,[\]]*/.exec(text.slice(start))?.[0] ?? ''
  const mechanism = schemes.get(scheme.toLowerCase())
  if (mechanism === undefined) {
    const known = [...schemes.keys()].map((name) => `${name}://`).join(', ')
    throw new NsUrlError(text, start, `one of ${known}`, scheme.length)
  }
  const end = start + scheme.length
  if (!text.startsWith('://', end)) throw new NsUrlError(text, end, '"://"', 3)
  return { mechanism, end: end + 3 }
}

function serviceAt(text: string, start: number): { networkService: string; end: number } {
  let end = nameAt(text, start, 'the name of a network service: letters, digits, "-", "_", "."')
  if (text[end] === '@') end = nameAt(text, end + 1, 'the domain of the network service')
  if (end - start > maxServiceBytes)
    throw new NsUrlError(text, start, `a service name of at most ${maxServiceBytes} bytes`, end - start)
  if (text[end] === ':')
    throw new NsUrlError(text, end, '"/", "?" or the end: a network service has neither port nor password')
  if (!ends(text, end) && text[end] !== '/' && text[end] !== '?') {
    throw new NsUrlError(text, end, '"/", "?", "@" or the end of the URL')
  }
  return { networkService: text.slice(start, end), end }
}

function nameAt(text: string, start: number, expected: string): number {
  serviceName.lastIndex = start
  const match = serviceName.exec(text)
  if (match === null) throw new NsUrlError(text, start, expected)
  return start + match[0].length
}

function interfaceAt(text: string, start: number): { interfaceName: string | undefined; end: number } {
  if (text[start] !== '/') return { interfaceName: undefined, end: start }
  const interfaceName = /^[^?,\]]*/.exec(text.slice(start + 1))?.[0] ?? ''
  const fault = interfaceNameFault(interfaceName)
  if (fault !== undefined) throw new NsUrlError(text, start + 1, fault, interfaceName.length)
  return { interfaceName, end: start + 1 + interfaceName.length }
}

function labelsAt(text: string, start: number): { labels: Record<string, string>; end: number } {
  const labels = new Map<string, string>()
  let at = start
  if (text[at] === '?') {
    do {
      const key = tokenAt(text, at + 1, keyText)
      if (!labelKey.test(key.value))
        throw new NsUrlError(text, at + 1, 'the name of a label', key.end - at - 1)
      if (text[key.end] !== '=') throw new NsUrlError(text, key.end, '"=" and the value of the label')
      const value = tokenAt(text, key.end + 1, valueText)
      const before = labels.get(key.value)
      labels.set(key.value, before === undefined ? value.value : `${before},${value.value}`)
      at = value.end
    } while (text[at] === '&')
  }
  if (!ends(text, at)) throw new NsUrlError(text, at, '"&" and another label, or the end of the URL')
  return { labels: Object.fromEntries(labels), end: at }
}

function tokenAt(text: string, start: number, shape: RegExp): { value: string; end: number } {
  shape.lastIndex = start
  const raw = shape.exec(text)?.[0] ?? ''
  const end = start + raw.length
  let value: string
  try {
    value = decodeURIComponent(raw.replaceAll('+', ' '))
  } catch {
    throw new NsUrlError(text, start, 'percent-encoded UTF-8', raw.length)
  }
  if (/\p{Cc}/u.test(value)) throw new NsUrlError(text, start, 'no control characters', raw.length)
  return { value, end }
}

/** A URL ends with the text, at a comma between URLs, or at the bracket that closes a group. */
function ends(text: string, at: number): boolean {
  return at >= text.length || text[at] === ',' || text[at] === ']'
}

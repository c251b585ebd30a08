/** The parts of resolv.conf(5) that matter here; other lines are kept nowhere. */
export interface ResolvConf {
  readonly nameservers: readonly string[]
  readonly search: readonly string[]
  /** As `ndots:5`. */
  readonly options: readonly string[]
}

/** First and last line of a file that this process wrote; what follows the last one is a torn write's rest. */
const header = '# written by the network service sidecar; the original is in the comments below'
const saved = '# original '
const footer = '# end'
/** Between a restored original and the blanks that cover the longer text which it replaces. */
const padding = Buffer.from('\n# restored\n')
/** musl reads lines of at most 255 bytes. */
const savedWidth = 180

/** Reads a file the way glibc does: the last `search` wins, at most three servers are used by the C libraries. */
export function parseResolvConf(text: string): ResolvConf {
  const conf = { nameservers: [] as string[], search: [] as string[], options: [] as string[] }
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.trim().split(/\s+/)
    if (keyword === 'nameserver' && words[0] !== undefined) conf.nameservers.push(words[0])
    if (keyword === 'search')
      conf.search = words.map((word) => word.replace(/\.$/, '')).filter((word) => word !== '')
    if (keyword === 'options') conf.options.push(...words)
  }
  return conf
}

/** Names with fewer dots than this are tried with the search list first (resolv.conf(5)). */
export function ndotsOf({ options }: ResolvConf): number {
  const [, given] =
    /^ndots:(\d{1,2})$/.exec(options.findLast((option) => option.startsWith('ndots:')) ?? '') ?? []
  return given === undefined ? 1 : Math.min(15, Number(given))
}

/** A file that asks `nameservers` and carries the bytes of the original within. */
export function formatResolvConf(conf: ResolvConf, original: Buffer): Buffer {
  const encoded = original.toString('base64')
  const lines = [header]
  for (let at = 0; at < encoded.length; at += savedWidth)
    lines.push(saved + encoded.slice(at, at + savedWidth))
  for (const server of conf.nameservers) lines.push(`nameserver ${server}`)
  if (conf.search.length > 0) lines.push(`search ${conf.search.join(' ')}`)
  if (conf.options.length > 0) lines.push(`options ${conf.options.join(' ')}`)
  lines.push(footer, '')
  return Buffer.from(lines.join('\n'))
}

/** The bytes that a file had before this process (or one before it) wrote it; undefined when nobody did. */
export function originalOf(content: Buffer): Buffer | undefined {
  const cut = content.indexOf(padding)
  if (cut >= 0) return content.subarray(0, cut)
  const lines = content.toString('latin1').split('\n')
  if (lines[0] !== header) return undefined
  const end = lines.indexOf(footer)
  const encoded = lines
    .slice(1, end < 0 ? undefined : end)
    .filter((line) => line.startsWith(saved))
    .map((line) => line.slice(saved.length))
  return Buffer.from(encoded.join(''), 'base64')
}

/** The original, made as long as what it replaces: one write puts it back, and a kill before the cut leaves nothing unclear. */
export function paddedOriginal(original: Buffer, length: number): Buffer {
  if (length <= original.length + padding.length) return original
  return Buffer.concat([original, padding, Buffer.alloc(length - original.length - padding.length, '\n')])
}

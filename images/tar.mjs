/**
 * Archives that are the same for the same content: entries in the order of their paths, all times zero, all of root.
 * An entry is `{ path, mode, data }`: absolute path, permission bits, a Buffer; without `data` a folder.
 */

const block = 512

/** A whole ustar archive, with each folder on the way to an entry. @throws RangeError for a path that does not fit. */
export function tarOf(entries) {
  const all = [...foldersOf(entries), ...entries].sort((a, b) => (a.path < b.path ? -1 : 1))
  const pieces = all.flatMap(({ path, mode, data }) => {
    if (data === undefined) return [header(`${path.slice(1)}/`, mode, 0, '5')]
    return [header(path.slice(1), mode, data.length, '0'), data, Buffer.alloc(padding(data.length))]
  })
  return Buffer.concat([...pieces, Buffer.alloc(2 * block)])
}

function foldersOf(entries) {
  const given = new Set(entries.map(({ path }) => path))
  const found = new Set()
  for (const { path } of entries) {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1))
      found.add(path.slice(0, end))
  }
  return [...found].filter((path) => !given.has(path)).map((path) => ({ path, mode: 0o755 }))
}

function header(name, mode, size, type) {
  if (Buffer.byteLength(name) > 100) throw new RangeError(`${name} is longer than 100 bytes`)
  const out = Buffer.alloc(block)
  const octal = (value, at, length) =>
    out.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  out.write(name, 0)
  octal(mode, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  octal(0, 136, 12)
  out.write(' '.repeat(8), 148)
  out.write(type, 156)
  out.write('ustar\0', 257)
  out.write('00', 263)
  const sum = out.reduce((total, byte) => total + byte, 0)
  out.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return out
}

function padding(length) {
  return (block - (length % block)) % block
}

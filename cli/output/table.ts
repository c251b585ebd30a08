/** Left-aligned columns, as wide as their widest cell, three blanks apart; the last one is not padded. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  return all.map((row) => line(row, widths)).join('')
}

function line(row: readonly string[], widths: readonly number[]): string {
  const cells = widths.map((width, i) => (row[i] ?? '').padEnd(width))
  return `${cells.join('   ').trimEnd()}\n`
}

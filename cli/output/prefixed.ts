/** Puts something before each line of a text that comes in pieces; whole lines only are written. */
export function prefixed(
  before: string,
  write: (text: string) => void,
): { readonly push: (text: string) => void; readonly flush: () => void } {
  let rest = ''
  const put = (text: string): void => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    if (lines.length > 0) write(lines.map((line) => `${before}${line}\n`).join(''))
  }
  return {
    push: put,
    flush: () => {
      if (rest !== '') put('\n')
    },
  }
}

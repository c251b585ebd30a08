import { NsmError } from '@nsm/sdk/errors.js'

/** More than any object can have in the API server. */
const maxLineLength = 16 * 1_048_576

/** The lines of a stream of text, as they come; without empty ones. @throws NsmError RESOURCE_EXHAUSTED for one without end */
export async function* lines(stream: AsyncIterable<unknown>): AsyncGenerator<string> {
  let parts: string[] = []
  let length = 0
  for await (const chunk of stream) {
    const [first = '', ...rest] = String(chunk).split('\n')
    parts.push(first)
    length += first.length
    if (length > maxLineLength) throw new NsmError('RESOURCE_EXHAUSTED', 'a line of the answer does not end')
    for (const start of rest) {
      const line = parts.join('')
      parts = [start]
      length = start.length
      if (line.trim() !== '') yield line
    }
  }
}

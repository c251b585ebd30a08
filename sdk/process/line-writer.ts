import { write } from 'node:fs'

/** Writes lines to a descriptor without ever blocking the event loop. */
export interface LineWriter {
  /** Takes one line with its newline. When the reader is too slow, lines are dropped and their number is told later. */
  write(line: string): void
  /** Resolves when everything has been written, or could not be. */
  flush(): Promise<void>
}

const maxPendingBytes = 1_048_576
const retryMs = 20

/** A writer to descriptor `fd` that keeps at most 1 MiB back: Node's own stdout blocks when the pipe is full. */
export function lineWriter(fd: number): LineWriter {
  let pending: string[] = []
  let pendingBytes = 0
  let dropped = 0
  let writing = false
  let waiting: (() => void)[] = []

  const next = (): void => {
    if (pending.length === 0) {
      writing = false
      for (const done of waiting) done()
      waiting = []
      return
    }
    const chunk = Buffer.from(pending.join(''))
    pending = []
    pendingBytes = 0
    put(chunk, 0)
  }
  const put = (chunk: Buffer, from: number): void => {
    write(fd, chunk, from, chunk.length - from, null, (err, written) => {
      if (err?.code === 'EAGAIN') {
        setTimeout(put, retryMs, chunk, from)
        return
      }
      if (err === null && from + written < chunk.length) put(chunk, from + written)
      else next()
    })
  }

  return {
    write(line) {
      if (pendingBytes + line.length > maxPendingBytes) {
        dropped += 1
        return
      }
      if (dropped > 0) {
        const time = Date.now()
        const note = JSON.stringify({
          level: 40,
          time,
          dropped,
          msg: 'log lines dropped, the reader is too slow',
        })
        pending.push(`${note}\n`)
        dropped = 0
      }
      pending.push(line)
      pendingBytes += line.length
      if (writing) return
      writing = true
      setImmediate(next)
    },
    flush: async () => {
      if (writing) await new Promise<void>((done) => waiting.push(done))
    },
  }
}

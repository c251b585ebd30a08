import type { ServerResponse } from 'node:http'
import type { StatusBoard, StatusChange } from './status-board.ts'

const maxListeners = 16
/** A reader that has this much waiting is not reading. */
const maxWaitingBytes = 262_144
const keepAliveMs = 15_000

/** Sends the changes of a board as Server-Sent Events. */
export interface EventStream {
  /** False when too many listen already; then nothing was sent. `after` = sequence number of the last change that the client knows. */
  open(res: ServerResponse, after: number | undefined): boolean
  close(): void
}

/**
 * A stream begins with the whole status, or with what happened since `after` when all of it is still known;
 * slow readers are cut off, and begin again.
 */
export function eventStream(board: StatusBoard): EventStream {
  const open = new Set<ServerResponse>()

  return {
    open(res, after) {
      if (open.size >= maxListeners) return false
      res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
      const write = (text: string): void => {
        if (res.writableLength > maxWaitingBytes) res.destroy()
        else res.write(text)
      }
      write(beginning(board, after))
      const unsubscribe = board.subscribe((change) => write(changeText(change)))
      const timer = setInterval(write, keepAliveMs, ': still here\n\n')
      timer.unref()
      open.add(res)
      res.on('close', () => {
        unsubscribe()
        clearInterval(timer)
        open.delete(res)
      })
      return true
    },
    close() {
      for (const res of open) res.end()
    },
  }
}

function beginning(board: StatusBoard, after: number | undefined): string {
  const recent = board.recent()
  const missed = recent.filter(({ sequence }) => sequence > (after ?? 0))
  const oldest = recent[0]?.sequence ?? 1
  if (after !== undefined && after >= oldest - 1)
    return missed.map(changeText).join('') || ': nothing new\n\n'
  const last = recent.at(-1)?.sequence ?? 0
  return `id: ${last}\nevent: status\ndata: ${JSON.stringify(board.read())}\n\n`
}

function changeText(change: StatusChange): string {
  return `id: ${change.sequence}\nevent: change\ndata: ${JSON.stringify(change)}\n\n`
}

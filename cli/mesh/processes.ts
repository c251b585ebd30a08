import { readFile, readlink } from 'node:fs/promises'
import { NsmError } from '@nsm/sdk/errors.js'

/** A process that can't be confused with a later one of the same pid. */
export interface ProcessId {
  readonly pid: number
  /** Clock ticks since boot (proc(5), stat field 22). */
  readonly startTime: string
}

interface Stat {
  readonly parent: number
  readonly startTime: string
}

/** Inode of a process' network namespace, as `4026531840`. */
export async function netnsOf(pid: number): Promise<string> {
  const link = await readlink(`/proc/${pid}/ns/net`).catch((err: unknown) => {
    throw new NsmError('NOT_FOUND', `process ${pid} is gone`, { cause: err })
  })
  return /\[(\d+)\]/.exec(link)?.[1] ?? ''
}

/** undefined when there is no such process. */
export async function processId(pid: number): Promise<ProcessId | undefined> {
  const stat = await statOf(pid)
  return stat === undefined ? undefined : { pid, startTime: stat.startTime }
}

export async function isAlive(process: ProcessId): Promise<boolean> {
  return (await statOf(process.pid))?.startTime === process.startTime
}

/** The process, its parent, its parent's parent, … at most `limit` of them. */
export async function ancestry(pid: number, limit = 16): Promise<readonly number[]> {
  const found: number[] = []
  for (let next = pid; next > 1 && found.length < limit;) {
    found.push(next)
    next = (await statOf(next))?.parent ?? 0
  }
  return found
}

async function statOf(pid: number): Promise<Stat | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // The name, second field, may hold blanks and brackets: count from its end.
  const fields = text?.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state, parent, startTime] = [fields?.[0], fields?.[1], fields?.[19]]
  if (parent === undefined || startTime === undefined || state === 'Z') return undefined
  return { parent: Number(parent), startTime }
}

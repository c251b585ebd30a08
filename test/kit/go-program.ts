import { execFile, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A Go program that was built, or why it cannot be on this machine. */
export type GoProgram = { readonly binary: string; remove(): Promise<void> } | { readonly missing: string }

/** Builds the Go module in `folder` into a temporary folder. @throws when the module is there but does not compile. */
export async function buildGo(folder: string): Promise<GoProgram> {
  const go = async (...args: string[]): Promise<unknown> =>
    run('go', args, { cwd: folder, maxBuffer: 1 << 24 })
  try {
    await go('version')
  } catch {
    return { missing: 'go is not installed' }
  }
  try {
    await go('mod', 'download')
  } catch (err) {
    return { missing: `go modules cannot be had: ${String(err).slice(0, 200)}` }
  }
  const target = await mkdtemp(path.join(tmpdir(), 'go-program-'))
  const binary = path.join(target, 'program')
  await go('build', '-o', binary, '.')
  return { binary, remove: async () => rm(target, { recursive: true, force: true }) }
}

/** A child that answers in JSON, one object a line. */
export interface JsonChild {
  readonly stdin: ChildProcessWithoutNullStreams['stdin']
  /** The next line; rejects at the end of the output. */
  next(): Promise<Record<string, unknown>>
  /** Ends its input, kills it if need be, and waits for its end. */
  stop(): Promise<void>
}

export function jsonChild(binary: string, ...args: string[]): JsonChild {
  const child = spawn(binary, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
  }) as unknown as ChildProcessWithoutNullStreams
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ended = new Promise<void>((resolve) => void child.once('close', () => resolve()))
  child.stdin.on('error', () => undefined)
  return {
    stdin: child.stdin,
    async next() {
      const line = await lines.next()
      if (line.done === true) throw new Error(`${args[0] ?? binary} has nothing more to say`)
      return JSON.parse(line.value) as Record<string, unknown>
    },
    async stop() {
      child.stdin.end()
      const timer = setTimeout(() => child.kill('SIGKILL'), 2_000)
      await ended
      clearTimeout(timer)
    },
  }
}

import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { deadline } from './deadline.ts'

export interface RunOptions {
  readonly input?: string
  /** Read by the program instead of `input`. */
  readonly inputFile?: string
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  /** Kills the program when it is aborted. */
  readonly signal?: AbortSignal
  /** Kills it after so long; default 10 min. */
  readonly timeoutMs?: number
}

const short = (argv: readonly string[]): string => argv.join(' ').slice(0, 300)

/** A program that ended with another status than 0. */
export class CommandError extends Error {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string

  constructor(argv: readonly string[], result: { status: number | null; stdout: string; stderr: string }) {
    super(`${short(argv)}: status ${result.status}\n${result.stderr.trim().slice(-4_000)}`)
    this.name = 'CommandError'
    this.status = result.status
    this.stdout = result.stdout
    this.stderr = result.stderr
  }
}

/**
 * Runs a program to its end, or to the end of this process, and answers its output.
 * @throws CommandError when it fails; another Error when it cannot be started or was killed for its signal or its time.
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const { input, inputFile, signal: outer, timeoutMs = 600_000, ...rest } = options
  const source = inputFile === undefined ? undefined : openSync(inputFile, 'r')
  const { signal, clear } = deadline(timeoutMs, outer)
  const child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...argv], {
    ...rest,
    signal,
    killSignal: 'SIGKILL',
    stdio: [source ?? 'pipe', 'pipe', 'pipe'],
  })
  if (source !== undefined) closeSync(source)
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => err.push(chunk))
  // A program may end without reading its input.
  child.stdin?.on('error', () => undefined)
  child.stdin?.end(input ?? '')
  const status = await new Promise<number | null>((resolve, reject) => {
    child.once('error', (cause) => {
      // What the program has started may live on and hold these.
      child.stdout?.destroy()
      child.stderr?.destroy()
      reject(
        signal.aborted ? new Error(`${short(argv)}: killed: ${String(signal.reason)}`, { cause }) : cause,
      )
    })
    child.once('close', resolve)
  }).finally(clear)
  const stdout = Buffer.concat(out).toString()
  if (status !== 0) throw new CommandError(argv, { status, stdout, stderr: Buffer.concat(err).toString() })
  return stdout
}

/** Runs a program on this terminal and answers its exit status. */
export async function runOnTerminal(
  argv: readonly string[],
  options: Pick<RunOptions, 'env'> = {},
): Promise<number> {
  const [program = '', ...args] = argv
  const child = spawn(program, args, { ...options, stdio: 'inherit' })
  return new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => resolve(status ?? 1))
  })
}

import { spawn } from 'node:child_process'
import type { FileHandle } from 'node:fs/promises'
import { enterArgs } from '../mesh/runner.ts'
import type { ExecTarget } from '../mesh/control-api.ts'

/** Runs a command beside a container's own on this terminal, by its user and with its environment; answers its exit code. */
export async function execIn(
  { pid, runner, manner }: ExecTarget,
  argv: readonly string[],
  term: string | undefined,
): Promise<number> {
  const { env, ...how } = manner
  const child = spawn(runner, enterArgs(pid, { ...how, argv }), {
    stdio: 'inherit',
    env: { ...(term === undefined ? {} : { TERM: term }), ...env },
  })
  // Ctrl-C is for the command.
  const ignore = (): void => undefined
  process.on('SIGINT', ignore)
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code) => resolve(code ?? 1))
    })
  } finally {
    process.off('SIGINT', ignore)
  }
}

/** Runs one as root, with its output caught and, if given, a file as its standard input; standard error is put behind standard output. */
export async function outputOf(
  { pid, runner }: Pick<ExecTarget, 'pid' | 'runner'>,
  argv: readonly string[],
  input?: FileHandle,
): Promise<{ code: number; text: string }> {
  const child = spawn(runner, enterArgs(pid, { argv }), { stdio: [input?.fd ?? 'ignore', 'pipe', 'pipe'] })
  const chunks: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk))
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => resolve(status ?? 1))
  })
  return { code, text: Buffer.concat(chunks).toString() }
}

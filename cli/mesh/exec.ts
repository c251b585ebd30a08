import { spawn } from 'node:child_process'
import { enterArgs } from './runner.ts'

/** Runs a command beside a container's own, without output; answers its exit code, 125 when there is nothing to run beside. */
export async function execBeside(
  target: { readonly runner: string; readonly pid: number | undefined; readonly argv: readonly string[] },
  signal: AbortSignal,
): Promise<number> {
  const { runner, pid, argv } = target
  if (pid === undefined) return 125
  return new Promise((resolve, reject) => {
    const child = spawn(runner, enterArgs(pid, { argv }), { stdio: 'ignore', signal, killSignal: 'SIGKILL' })
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 125))
  })
}

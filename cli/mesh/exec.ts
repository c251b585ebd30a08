import { spawn } from 'node:child_process'
import { enterArgs, type Manner } from './runner.ts'

/** What to run beside which process. */
export interface Beside {
  readonly runner: string
  readonly pid: number | undefined
  readonly argv: readonly string[]
  readonly manner: Manner
}

/** Runs a command beside a container's own and as that, without output; answers its exit code, 125 when there is nothing to run beside. */
export async function execBeside(
  { runner, pid, argv, manner }: Beside,
  signal: AbortSignal,
): Promise<number> {
  if (pid === undefined) return 125
  const { env, ...how } = manner
  return new Promise((resolve, reject) => {
    const args = enterArgs(pid, { ...how, argv })
    const child = spawn(runner, args, { stdio: 'ignore', env, signal, killSignal: 'SIGKILL' })
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 125))
  })
}

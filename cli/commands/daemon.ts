import { fstat } from 'node:fs'
import type { Command } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import { runDaemon, type DaemonEvent } from '../mesh/daemon.ts'
import type { MeshOptions } from '../mesh/options.ts'
import type { Context } from './context.ts'

/** `nsm daemon`: what `nsm up` starts in a network namespace of its own. Not for people. */
export function daemonCommand(program: Command, context: Context): void {
  const { signal } = context
  program
    .command('daemon', { hidden: true })
    .argument('<options>')
    .action(async (text: string) => {
      const orphaned = new AbortController()
      // A mesh that was started in the background has no standard input: it ends at once there, as does one whose starter is dead.
      if (!(await isNull())) {
        process.stdin.resume()
        process.stdin.once('close', () => orphaned.abort())
      }
      const tell = (event: DaemonEvent): void => void process.stdout.write(`${JSON.stringify(event)}\n`)
      process.stdout.on('error', () => undefined)
      try {
        await runDaemon(JSON.parse(text) as MeshOptions, AbortSignal.any([signal, orphaned.signal]), tell)
      } catch (err) {
        if (!signal.aborted) {
          tell({ event: 'failed', reason: NsmError.from(err).message })
          context.exit(1)
        }
      }
    })
}

async function isNull(): Promise<boolean> {
  return new Promise((resolve) => fstat(0, (err, stat) => resolve(err !== null || stat.isCharacterDevice())))
}

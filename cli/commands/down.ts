import type { Command } from 'commander'
import { setTimeout as delay } from 'node:timers/promises'
import { NsmError } from '@nsm/sdk/errors.js'
import { controlOf } from '../mesh/control-client.ts'
import { folderOf } from '../mesh/options.ts'
import { isAlive } from '../mesh/processes.ts'
import { cleanFolder, daemonOf } from '../mesh/state.ts'
import type { Context } from './context.ts'

const pollMs = 50
const timeoutMs = 60_000

/** `nsm down`: ends a mesh, or cleans up after one that was killed. */
export function downCommand(program: Command, { terminal, signal }: Context): void {
  program
    .command('down')
    .description('end a mesh and everything in it')
    .option('--name <name>', 'name of the mesh', 'local')
    .action(async ({ name }: { name: string }) => {
      const folder = folderOf(name)
      const daemon = await daemonOf(folder)
      if (daemon !== undefined) {
        await controlOf(name)('down', undefined)
        const late = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
        while (await isAlive(daemon)) {
          if (late.aborted) throw new NsmError('DEADLINE_EXCEEDED', `process ${daemon.pid} is still there`)
          await delay(pollMs)
        }
      }
      await cleanFolder(folder)
      terminal.step(daemon === undefined ? `mesh "${name}" was not up` : `mesh "${name}" is down`)
    })
}

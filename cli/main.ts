import { fileURLToPath } from 'node:url'
import { Command, CommanderError } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import { version } from '@nsm/sdk/process/version.js'
import type { Context } from './commands/context.ts'
import { daemonCommand } from './commands/daemon.ts'
import { downCommand } from './commands/down.ts'
import { inspectCommands } from './commands/inspect.ts'
import { objectCommands } from './commands/objects.ts'
import { quickstartCommand } from './commands/quickstart.ts'
import { resolveCommand } from './commands/resolve.ts'
import { upCommand } from './commands/up.ts'
import { terminalOf } from './output/terminal.ts'

const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.on(name, () => {
    // A second one: whoever sends it does not want to wait. A mesh goes on ending by itself.
    if (stopping.signal.aborted) process.exit(130)
    stopping.abort(new NsmError('CANCELLED', `stopped by ${name}`))
  })
// `nsm logs -f | head`: nobody reads any more, which is no fault.
process.stdout.on('error', (err) => stopping.abort(NsmError.from(err)))
process.stderr.on('error', () => undefined)

const context: Context = {
  terminal: terminalOf(process.stdout, process.stderr, process.env),
  program: fileURLToPath(import.meta.url),
  signal: stopping.signal,
  exit: (code) => {
    process.exitCode = code
  },
}
const program = new Command('nsm')
  .description('Network Service Mesh on this machine: extra interfaces for pods by one annotation')
  .version(version, '--version', 'print the version')
  .addHelpText(
    'after',
    `
Examples:
  nsm up -d -f examples/quickstart         start a mesh with pods, in the background
  nsm status                               every connection, and what is wrong with it
  nsm status client-1                      one pod, hop by hop
  nsm exec client-1 -- ping -c 3 172.16.1.96
  nsm logs client-1 -c sidecar
  nsm down

A mesh needs root and Linux; \`nsm COMMAND --help\` has the options.`,
  )
  .showHelpAfterError('(see `nsm --help`)')
  .enablePositionalOptions()
  .exitOverride()
quickstartCommand(program, context)
upCommand(program, context)
objectCommands(program, context)
inspectCommands(program, context)
resolveCommand(program, context)
downCommand(program, context)
daemonCommand(program, context)

program.parseAsync().then(finish, (reason: unknown) => {
  if (reason instanceof CommanderError) process.exitCode = reason.exitCode
  else if (!stopping.signal.aborted) {
    process.stderr.write(`nsm: ${NsmError.from(reason).message}\n`)
    process.exitCode = 1
  }
  finish()
})

/** Open handles of a daemon that goes on must not keep this process. */
function finish(): void {
  process.exit()
}

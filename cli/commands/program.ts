import { Command } from 'commander'
import { version } from '@nsm/sdk/process/version.js'
import { machineCheckCommand } from './check.ts'
import type { Context } from './context.ts'
import { daemonCommand } from './daemon.ts'
import { downCommand } from './down.ts'
import { inspectCommands } from './inspect.ts'
import { leaveCommands } from './leave.ts'
import { objectCommands } from './objects.ts'
import { pingCommand } from './ping.ts'
import { quickstartCommand } from './quickstart.ts'
import { resolveCommand } from './resolve.ts'
import { upCommand } from './up.ts'

/** Commands of `nsm`: a mesh on this machine. */
export function meshProgram(context: Context): Command {
  const program = new Command('nsm')
    .description('Network Service Mesh on this machine: extra interfaces for pods by one annotation')
    .version(version, '--version', 'print the version')
    .addHelpText(
      'after',
      `
Examples:
  nsm check                                whether this machine has what a mesh needs
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
  machineCheckCommand(program, context)
  upCommand(program, context)
  objectCommands(program, context)
  inspectCommands(program, context)
  resolveCommand(program, context)
  pingCommand(program, context)
  leaveCommands(program, context)
  downCommand(program, context)
  daemonCommand(program, context)
  return program
}

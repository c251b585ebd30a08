import { Command } from 'commander'
import { version } from '@nsm/sdk/process/version.js'
import type { Context } from '../commands/context.ts'
import { checkCommand } from './check.ts'
import { describeCommand } from './describe.ts'
import { logsCommand } from './logs.ts'
import { statusCommand } from './status.ts'

/** Commands of `kubectl nsm`: they look at a cluster and change nothing. */
export function kubectlProgram(context: Context): Command {
  const program = new Command('kubectl nsm')
    .description('Network Service Mesh in a Kubernetes cluster: what is connected, and what is wrong')
    .version(version, '--version', 'print the version')
    .addHelpText(
      'after',
      `
Examples:
  kubectl nsm check                        the installation, and what to do where it is not as it should be
  kubectl nsm status -A                    every connection of every pod
  kubectl nsm status client-1              one pod, hop by hop
  kubectl nsm describe pod client-1        all about its connections, with its events
  kubectl nsm describe service postgres    whom it leads where, who serves it, who uses it
  kubectl nsm logs client-1                the log of a pod's sidecar
  kubectl nsm logs nsmgr -f --since 5m     the log of a part, on all nodes
  kubectl nsm logs nsmgr --previous        of those that were restarted: why

Ends with 0 when all is well, 1 when something is not, 2 when it was called wrongly.`,
    )
    .showHelpAfterError('(see `kubectl nsm --help`)')
    .exitOverride()
  checkCommand(program, context)
  statusCommand(program, context)
  describeCommand(program, context)
  logsCommand(program, context)
  return program
}

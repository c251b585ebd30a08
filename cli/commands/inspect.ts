import type { Command } from 'commander'
import { controlOf } from '../mesh/control-client.ts'
import { folderOf, paths } from '../mesh/options.ts'
import { connectionsTable, pathsText } from '../output/connections.ts'
import { partsTable } from '../output/objects.ts'
import type { Context } from './context.ts'
import { execIn } from './exec.ts'
import { findLog, showLog } from './logs.ts'

interface Named {
  readonly name: string
  readonly namespace: string
}

const meshOption = ['--name <name>', 'name of the mesh', 'local'] as const
const namespaceOption = ['-n, --namespace <namespace>', 'namespace of the pod', 'default'] as const

/** `nsm status`, `nsm exec`, `nsm logs`, `nsm down`. */
export function inspectCommands(program: Command, context: Context): void {
  const { terminal } = context
  program
    .command('status')
    .description('show the connections of a pod, or of all, and the parts of the mesh')
    .argument('[pod]', 'name of a pod')
    .option('-n, --namespace <namespace>', 'namespace of the pods')
    .option('-o, --output <format>', 'table or json', 'table')
    .option(...meshOption)
    .action(async (pod: string | undefined, given: { name: string; namespace?: string; output: string }) => {
      const control = controlOf(given.name)
      const { namespace } = given
      const chosen = {
        ...(namespace === undefined ? {} : { namespace }),
        ...(pod === undefined ? {} : { pod }),
      }
      const connections = await control('connections', chosen)
      const mesh = await control('mesh', undefined)
      if (given.output === 'json') {
        terminal.out(
          `${JSON.stringify(pod === undefined ? { mesh, connections } : connections, undefined, 2)}\n`,
        )
        return
      }
      if (pod === undefined) terminal.out(`${partsTable(mesh)}\n`)
      terminal.out(connections.length === 0 ? noConnections(pod) : connectionsTable(connections, Date.now()))
      if (pod !== undefined) terminal.out(pathsText(connections))
    })
  program
    .command('exec')
    .description('run a command in a pod: nsm exec POD -- ping 172.16.1.100')
    .argument('<pod>', 'name of the pod')
    .argument('<command...>', 'command and its arguments, after --')
    .option('-c, --container <container>', 'container; default: the first one')
    .option(...namespaceOption)
    .option(...meshOption)
    .action(async (pod: string, argv: string[], given: Named & { container?: string }) => {
      const { namespace, container } = given
      const target = { namespace, pod, ...(container === undefined ? {} : { container }) }
      context.exit(await execIn(await controlOf(given.name)('exec', target), argv))
    })
  program
    .command('logs')
    .description('show the log of a pod, of a part such as nsmgr-node-1, or of the mesh itself (mesh)')
    .argument('<name>', 'pod or part')
    .option('-c, --container <container>', 'container of the pod')
    .option('-f, --follow', 'go on with what comes')
    .option(...namespaceOption)
    .option(...meshOption)
    .action(async (wanted: string, given: Named & { container?: string; follow?: boolean }) => {
      const { namespace, container } = given
      const log = { name: wanted, namespace, ...(container === undefined ? {} : { container }) }
      const path = await findLog(paths(folderOf(given.name)).logs, log)
      await showLog(path, given.follow === true ? context.signal : undefined, (chunk) =>
        process.stdout.write(chunk),
      )
    })
}

function noConnections(pod: string | undefined): string {
  return pod === undefined
    ? 'no pod has a connection: annotate one with networkservicemesh.io: kernel://SERVICE/nsm-1\n'
    : `pod ${pod} has no sidecar: it isn't there (see \`nsm get pods\`), or isn't annotated with networkservicemesh.io\n`
}

import type { Command } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import { controlOf } from '../mesh/control-client.ts'
import { folderOf, paths } from '../mesh/options.ts'
import { connectionsTable, pathsText } from '../output/connections.ts'
import { namesText } from '../output/names.ts'
import { partsTable } from '../output/objects.ts'
import type { Context } from './context.ts'
import { execIn } from './exec.ts'
import { findPod } from './find-pod.ts'
import { findLog, showLog } from './logs.ts'
import { outputOption } from './output-option.ts'

interface Given {
  readonly name: string
  readonly namespace?: string
  readonly container?: string
}

const meshOption = ['--name <name>', 'name of the mesh', 'local'] as const
const namespaceOption = ['-n, --namespace <namespace>', 'namespace of the pod'] as const

/** `nsm status`, `nsm exec`, `nsm logs`. */
export function inspectCommands(program: Command, context: Context): void {
  program
    .command('status')
    .description('show the connections of a pod, hop by hop, or of all, and the parts of the mesh')
    .argument('[pod]', 'name of a pod')
    .addOption(outputOption())
    .option(...namespaceOption)
    .option(...meshOption)
    .action(async (pod: string | undefined, given: Given & { output: string }) => {
      await (pod === undefined ? meshStatus(context, given) : podStatus(context, pod, given))
    })
  program
    .command('exec')
    .description('run a command in a pod: nsm exec POD -- ping 172.16.1.100')
    .argument('<pod>', 'name of the pod')
    .argument('<command...>', 'command and its arguments, after --')
    .option('-c, --container <container>', 'container; default: the first one')
    .option(...namespaceOption)
    .option(...meshOption)
    .action(async (pod: string, argv: string[], { name, namespace, container }: Given) => {
      const control = controlOf(name)
      const found = await findPod(control, pod, namespace)
      const target = await control('exec', { ...found, ...(container === undefined ? {} : { container }) })
      context.exit(await execIn(target, argv, process.env['TERM']))
    })
  program
    .command('logs')
    .description('show the log of a pod, of a part such as nsmgr-node-1, or of the mesh itself (mesh)')
    .argument('<name>', 'pod or part')
    .option('-c, --container <container>', 'container of the pod')
    .option('-f, --follow', 'go on with what comes')
    .option(...namespaceOption)
    .option(...meshOption)
    .action(async (wanted: string, given: Given & { follow?: boolean }) => {
      const path = await findLog(paths(folderOf(given.name)).logs, { ...given, name: wanted })
      const follow = given.follow === true ? context.signal : undefined
      await showLog(path, follow, (chunk) => process.stdout.write(chunk))
    })
}

async function meshStatus({ terminal }: Context, given: Given & { output: string }): Promise<void> {
  const control = controlOf(given.name)
  const { namespace } = given
  const mesh = await control('mesh', undefined)
  const connections = await control('connections', namespace === undefined ? {} : { namespace })
  if (given.output === 'json') {
    terminal.out(`${JSON.stringify({ mesh, connections }, undefined, 2)}\n`)
    return
  }
  terminal.out(`${partsTable(mesh)}\n`)
  const none = 'no pod has a connection: annotate one with networkservicemesh.io: kernel://SERVICE/nsm-1\n'
  terminal.out(connections.length === 0 ? none : connectionsTable(connections, Date.now()))
}

async function podStatus(
  { terminal }: Context,
  word: string,
  given: Given & { output: string },
): Promise<void> {
  const control = controlOf(given.name)
  const { namespace, pod } = await findPod(control, word, given.namespace)
  const connections = await control('connections', { namespace, pod })
  if (connections.length === 0)
    throw new NsmError(
      'NOT_FOUND',
      `pod ${namespace}/${pod} has no sidecar: it isn't there (see \`nsm get pods\`), or isn't annotated with networkservicemesh.io`,
    )
  if (given.output === 'json') {
    terminal.out(`${JSON.stringify(connections, undefined, 2)}\n`)
    return
  }
  terminal.out(connectionsTable(connections, Date.now()))
  terminal.out(namesText(connections) + pathsText(connections))
}

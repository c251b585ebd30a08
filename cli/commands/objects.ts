import type { Command } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Outcome } from '../mesh/apply.ts'
import type { ObjectName } from '../mesh/control-api.ts'
import { controlOf, type Control } from '../mesh/control-client.ts'
import { deploymentsTable, outcomesText, podsTable, servicesTable } from '../output/objects.ts'
import { table } from '../output/table.ts'
import type { Context } from './context.ts'
import { readManifests } from './files.ts'
import { outputOption } from './output-option.ts'

interface Named {
  readonly name: string
}

const meshOption = ['--name <name>', 'name of the mesh', 'local'] as const

/** `nsm apply`, `nsm delete`, `nsm get`: what is in the mesh, by kubectl's words. */
export function objectCommands(program: Command, context: Context): void {
  const report = (outcomes: readonly Outcome[]): void => {
    context.terminal.out(outcomesText(outcomes))
    if (outcomes.some(({ result }) => result === 'failed')) context.exit(1)
  }
  program
    .command('apply')
    .description('bring the mesh to what YAML files say (Namespace, NetworkService, Deployment, Pod)')
    .requiredOption('-f, --file <path>', 'YAML file, folder, or - for standard input')
    .option(...meshOption)
    .action(async ({ file, name }: Named & { file: string }) => {
      report(await controlOf(name)('apply', { files: await readManifests(file) }))
    })
  program
    .command('delete')
    .description('take away what YAML files name, or one object')
    .argument('[kind]', 'pod, deployment, networkservice or namespace')
    .argument('[object]', 'its name')
    .option('-f, --file <path>', 'YAML file, folder, or - for standard input')
    .option('-n, --namespace <namespace>', 'its namespace', 'default')
    .option(...meshOption)
    .action(
      async (
        kind: string | undefined,
        object: string | undefined,
        given: Named & { file?: string; namespace: string },
      ) => {
        const control = controlOf(given.name)
        if (given.file !== undefined)
          return report(await control('delete', { files: await readManifests(given.file) }))
        if (kind === undefined || object === undefined)
          throw new NsmError(
            'INVALID_ARGUMENT',
            'say what to delete: -f FILE, or KIND NAME such as `pod client-1`',
          )
        report([await control('deleteOne', { kind: kindOf(kind), namespace: given.namespace, name: object })])
      },
    )
  program
    .command('get')
    .description('list pods, deployments, networkservices or namespaces')
    .argument('[kind]', 'what to list', 'pods')
    .option('-n, --namespace <namespace>', 'of this namespace only')
    .addOption(outputOption())
    .option(...meshOption)
    .action(async (kind: string, given: Named & { namespace?: string; output: string }) => {
      context.terminal.out(await listing(controlOf(given.name), kind, given))
    })
}

async function listing(
  control: Control,
  kind: string,
  { namespace, output }: { namespace?: string; output: string },
): Promise<string> {
  const kept = <T extends { readonly namespace: string }>(items: readonly T[]): readonly T[] =>
    items.filter((item) => namespace === undefined || item.namespace === namespace)
  const json = output === 'json'
  const shown = <T>(items: T, text: (items: T) => string): string =>
    json ? `${JSON.stringify(items, undefined, 2)}\n` : text(items)
  switch (kindOf(kind)) {
    case 'Pod':
      return shown(kept(await control('pods', undefined)), (pods) => podsTable(pods, Date.now()))
    case 'Deployment':
      return shown(kept(await control('deployments', undefined)), deploymentsTable)
    case 'NetworkService':
      return shown(kept(await control('networkservices', undefined)), servicesTable)
    default:
      return shown(await control('namespaces', undefined), (names) =>
        table(
          ['NAME'],
          names.map((name) => [name]),
        ),
      )
  }
}

const kinds: readonly (readonly [ObjectName['kind'], readonly string[]])[] = [
  ['Pod', ['pod', 'pods', 'po']],
  ['Deployment', ['deployment', 'deployments', 'deploy']],
  ['NetworkService', ['networkservice', 'networkservices', 'netsvc', 'netsvcs']],
  ['Namespace', ['namespace', 'namespaces', 'ns']],
]

function kindOf(word: string): ObjectName['kind'] {
  const found = kinds.find(([, words]) => words.includes(word.toLowerCase()))
  if (found !== undefined) return found[0]
  const known = kinds.map(([, [name]]) => name).join(', ')
  throw new NsmError('INVALID_ARGUMENT', `the kind must be one of ${known}, not "${word}"`)
}

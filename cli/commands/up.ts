import { Option, type Command } from 'commander'
import {
  defaultTokenSeconds,
  bundleFolder,
  checkOptions,
  folderOf,
  type MeshOptions,
} from '../mesh/options.ts'
import type { Context } from './context.ts'
import { startDaemon } from './daemon-process.ts'
import { readManifests } from './files.ts'
import { controlOf } from '../mesh/control-client.ts'
import { objectsOf } from '../mesh/apply.ts'
import { outcomesText } from '../output/objects.ts'

/** Options of commands that start a mesh. */
export interface UpOptions {
  readonly name: string
  readonly nodes: string
  readonly trustDomain: string
  readonly underlay: string
  readonly podCidr: string
  readonly excludePrefix: readonly string[]
  readonly tokenLifetime: string
  readonly bundles?: string
}

/** Adds the options that say what mesh to start. */
export function withMeshOptions(command: Command): Command {
  return command
    .option('--name <name>', 'name of the mesh; several can be up at once', 'local')
    .option('--nodes <number>', 'how many nodes to start', '1')
    .option('--trust-domain <domain>', 'SPIFFE trust domain', 'k8s.nsm')
    .option('--underlay <prefix>', 'IPv4 prefix that joins the nodes', '10.199.0.0/24')
    .option('--pod-cidr <prefix>', 'IPv4 prefix of the pods, a /24 for each node', '10.244.0.0/16')
    .option('--exclude-prefix <prefix...>', 'prefixes that no endpoint may hand out addresses of', [])
    .option(
      '--token-lifetime <seconds>',
      'how long a connection outlives a client that is gone without a word',
      String(defaultTokenSeconds),
    )
    .addOption(new Option('--bundles <folder>', 'where the programs of the mesh are').hideHelp())
}

export function meshOptionsOf(options: UpOptions): MeshOptions {
  const { name, trustDomain, underlay, podCidr, excludePrefix, bundles = bundleFolder() } = options
  const nodes = Number(options.nodes)
  const excludedPrefixes = [...excludePrefix]
  const folder = folderOf(name)
  const tokenSeconds = Number(options.tokenLifetime)
  return checkOptions({
    name,
    nodes,
    trustDomain,
    underlay,
    podCidr,
    excludedPrefixes,
    tokenSeconds,
    bundles,
    folder,
  })
}

/** `nsm up`: starts a mesh and holds it until Ctrl-C, or leaves it running. */
export function upCommand(program: Command, context: Context): void {
  withMeshOptions(program.command('up'))
    .description(
      'start a local mesh: registry, webhook, SPIFFE authority, and a manager and a forwarder per node',
    )
    .option('-f, --file <path>', 'YAML file or folder to apply once it is up')
    .option('-d, --detach', 'leave it running in the background; `nsm down` ends it')
    .action(async (given: UpOptions & { file?: string; detach?: boolean }) => {
      await up(context, meshOptionsOf(given), given)
    })
}

async function up(
  { terminal, program, signal }: Context,
  options: MeshOptions,
  { file, detach = false }: { file?: string; detach?: boolean },
): Promise<void> {
  const files = file === undefined ? [] : await readManifests(file)
  // Faults of the YAML are told before anything is started.
  objectsOf(files)
  const mesh = await startDaemon(options, { program, detached: detach, signal }, (text) =>
    terminal.step(text),
  )
  const flag = options.name === 'local' ? '' : ` --name ${options.name}`
  if (files.length > 0) terminal.out(outcomesText(await controlOf(options.name)('apply', { files })))
  if (detach) {
    terminal.step(`running in the background; end it with \`nsm down${flag}\``)
    mesh.detach()
    return
  }
  terminal.step('Ctrl-C ends it and leaves nothing behind')
  await mesh.ended
}

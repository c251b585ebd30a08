import { Option, type Command } from 'commander'
import { stringify } from 'yaml'
import type { Context } from '../commands/context.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { openCluster } from '../cluster/open.ts'

/** Options that every command of the plugin has. */
export interface CommonOptions {
  readonly kubeconfig?: string
  readonly context?: string
  readonly namespace?: string
}

/** How a command prints. */
export type Output = 'table' | 'wide' | 'json' | 'yaml'

/** What a command works with. */
export interface Session extends Context {
  readonly cluster: Cluster
  /** Of `-n`, or of the kubeconfig's context. */
  readonly namespace: string
}

/** Adds them to a command. */
export function commonOptions(command: Command): Command {
  return command
    .option('-n, --namespace <namespace>', "namespace; default: the context's")
    .option('--context <name>', 'context of the kubeconfig')
    .option('--kubeconfig <file>', 'path of the kubeconfig')
}

/** `-o` with the forms that a command has. */
export function outputOption(...choices: readonly Output[]): Option {
  return new Option('-o, --output <format>', 'how to print').choices(choices).default(choices[0])
}

/** Opens the cluster for one command, and closes it behind it. */
export async function inCluster(
  context: Context,
  given: CommonOptions,
  run: (session: Session) => Promise<void>,
): Promise<void> {
  const cluster = await openCluster(given)
  try {
    await run({ ...context, cluster, namespace: given.namespace ?? cluster.namespace })
  } finally {
    cluster.close()
  }
}

/** A value as JSON or YAML. */
export function printed(value: unknown, output: 'json' | 'yaml'): string {
  return output === 'json' ? `${JSON.stringify(value, undefined, 2)}\n` : stringify(value)
}

/** `demo/client-1`, `pod/client-1` or `client-1`, whose parts before a slash are options as well. */
export function splitName(word: string): { readonly before: string | undefined; readonly name: string } {
  const [name = '', before] = word.split('/').toReversed()
  return { before, name }
}

import type { Command } from 'commander'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { silent } from '@nsm/sdk/log.js'
import { version } from '@nsm/sdk/process/version.js'
import { leaveCluster, removeNamespace } from '../cluster/leave.ts'
import type { Context } from './context.ts'

const waitMs = 60_000

/** `nsm leave` and `nsm remove-test`: what the chart runs inside the cluster, before its parts are removed and after its test. */
export function leaveCommands(program: Command, { terminal, signal }: Context): void {
  program
    .command('leave', { hidden: true })
    .description('take interfaces out of pods and endpoints out of the registry, before an uninstallation')
    .option('--test-namespace <name>', 'namespace that a test may have left')
    .action(async ({ testNamespace }: { testNamespace?: string }) => {
      await inCluster(async (client) => leaveCluster({ client, terminal, signal, waitMs, testNamespace }))
    })
  program
    .command('remove-test', { hidden: true })
    .description('remove what a successful test of the chart has made')
    .argument('<namespace>')
    .action(async (name: string) => {
      await inCluster(async (client) => removeNamespace(client, name))
    })
}

async function inCluster(task: (client: ApiClient) => Promise<void>): Promise<void> {
  const { openApiClient } = await import('@nsm/kubernetes/open-client.js')
  const client = await openApiClient({ userAgent: `nsm-leave/${version}`, qps: 50, log: silent })
  try {
    await task(client)
  } finally {
    client.close()
  }
}

import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { silent } from '@nsm/sdk/log.js'
import type { Test } from 'tap'
import { kubectl } from './harness/client.ts'
import { controlPlaneOf, startApiServer } from './harness/control-plane.ts'
import { stopDaemon } from './harness/daemon.ts'
import type { Layout } from './harness/layout.ts'
import { down, up } from './harness/lifecycle.ts'
import { progress } from './harness/progress.ts'
import { openTools, type Tools } from './harness/tools.ts'

/** An API server that a test may stop and start. */
export interface RestartableApiServer {
  stopApiServer(): Promise<void>
  startApiServer(): Promise<void>
}

/** What a world is made of. */
export interface OwnApiServer {
  readonly layout: Layout
  readonly tools: Tools
  /** Of an administrator. */
  readonly client: ApiClient
  /** Answers what it prints. */
  kubectl(args: readonly string[], input?: string): Promise<string>
  readonly restart: RestartableApiServer
}

/** Starts an API server without nodes, until the test file ends. */
export async function ownApiServer(t: Test, prefix: string): Promise<OwnApiServer> {
  const name = `${prefix}-${process.pid}`
  const report = progress((line) => t.comment(line))
  t.teardown(async () => down(name))
  const layout = await up({ name, nodes: 0, progress: report })
  const tools = await openTools(report)
  const { kubeconfig } = layout
  const client = await openApiClient({ kubeconfig, userAgent: 'test', qps: 1_000, log: silent })
  t.teardown(() => client.close())
  return {
    layout,
    tools,
    client,
    kubectl: async (args, input = '') => kubectl(layout, tools, args, { input }),
    restart: {
      stopApiServer: async () => stopDaemon(controlPlaneOf(layout, tools).apiServer),
      startApiServer: async () => startApiServer(layout, tools),
    },
  }
}

import path from 'node:path'
import { run, type RunOptions } from './command.ts'
import type { Layout } from './layout.ts'
import type { Tools } from './tools.ts'

/** Environment in which kubectl and helm speak to this cluster, as an administrator, and keep what they learn of it beside it. */
export function clientEnv(layout: Layout): NodeJS.ProcessEnv {
  return {
    ...process.env,
    KUBECONFIG: layout.kubeconfig,
    KUBECACHEDIR: path.join(layout.folder, 'kube-cache'),
  }
}

/** What kubectl prints. @throws as `run` does. */
export async function kubectl(
  layout: Layout,
  tools: Tools,
  args: readonly string[],
  options: Pick<RunOptions, 'input' | 'signal'> = {},
): Promise<string> {
  return run([...tools.component('kubectl'), ...args], { ...options, env: clientEnv(layout) })
}

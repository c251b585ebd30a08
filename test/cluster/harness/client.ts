import path from 'node:path'
import { run } from './command.ts'
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

/** What kubectl prints. @throws CommandError */
export async function kubectl(
  layout: Layout,
  tools: Tools,
  args: readonly string[],
  input = '',
): Promise<string> {
  return run([...tools.component('kubectl'), ...args], { env: clientEnv(layout), input })
}

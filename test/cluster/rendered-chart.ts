import path from 'node:path'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { parseAllDocuments } from 'yaml'
import { run } from './harness/command.ts'
import { checkout, type Tools } from './harness/tools.ts'

/** Folder of the chart. */
export const chart: string = path.join(checkout, 'charts/nsm')

/** An object of the chart. */
export interface Rendered extends KubernetesObject {
  readonly kind: string
  readonly metadata: KubernetesObject['metadata'] & { readonly name: string }
}

/** Helm, and what it makes of the chart. */
export interface ChartRenderer {
  helm(...args: readonly string[]): Promise<string>
  /** What would be applied, with the hooks of uninstallation and test. @throws where a reader of YAML would, as for a field that is there twice. */
  render(args: readonly string[], kubernetes?: string): Promise<string>
  /** The same as objects. */
  objects(args: readonly string[], kubernetes?: string): Promise<readonly Rendered[]>
}

/** Renders as for a release `nsm` in `nsm-system`. */
export function chartRenderer(tools: Pick<Tools, 'helm'>): ChartRenderer {
  const helm = async (...args: readonly string[]): Promise<string> => run([tools.helm, ...args])
  const render = async (args: readonly string[], kubernetes = '1.37.2'): Promise<string> => {
    const release = ['nsm', chart, '--namespace', 'nsm-system']
    const text = await helm('template', ...release, '--kube-version', kubernetes, ...args)
    for (const { errors } of parseAllDocuments(text)) for (const error of errors) throw error
    return text
  }
  return {
    helm,
    render,
    async objects(args, kubernetes) {
      const documents = parseAllDocuments(await render(args, kubernetes))
      return documents.map((document) => document.toJS() as Rendered | null).filter((one) => one !== null)
    },
  }
}

import { NsmError } from '@nsm/sdk/errors.js'
import type { Control } from '../mesh/control-client.ts'

/** A pod's full name. */
export interface PodName {
  readonly namespace: string
  readonly pod: string
}

/** Finds the pod that `word` means: in this namespace, or by its name alone where only one pod has it, or as NAMESPACE/NAME. */
export async function findPod(
  control: Control,
  word: string,
  namespace: string | undefined,
): Promise<PodName> {
  const [name = word, within = namespace] = word.split('/').toReversed()
  if (within !== undefined) return { namespace: within, pod: name }
  const found = (await control('pods', undefined)).filter((pod) => pod.name === name)
  const [only] = found
  if (only !== undefined && found.length === 1) return { namespace: only.namespace, pod: name }
  if (only === undefined) throw new NsmError('NOT_FOUND', `there is no pod ${name}; see \`nsm get pods\``)
  const places = found.map((pod) => pod.namespace).join(', ')
  throw new NsmError('INVALID_ARGUMENT', `say which ${name} with -n: there is one in each of ${places}`)
}

import type { Namespace, Pod } from '../manifest/objects.ts'
import { NsmError } from '@nsm/sdk/errors.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { sleep } from '@nsm/sdk/sleep.js'

const annotation = 'networkservicemesh.io'
const injectKey = 'networkservicemesh.io/inject'
const pauseMs = 20
const patienceMs = 5_000

/**
 * Waits until the webhook has taken a changed namespace over: it reads them from a file, a moment after it was written.
 * Asks it about a plain pod there, as often as needed; gives up silently, since a pod that comes too early can be made again.
 */
export async function untilTaken(
  namespace: Namespace,
  admit: (pod: Pod) => Promise<Pod>,
  signal: AbortSignal,
): Promise<void> {
  const wanted = injects(namespace)
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  const probe: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'probe', namespace: namespace.metadata.name },
    spec: { containers: [{ name: 'probe', command: ['true'] }] },
  }
  while (!bounded.aborted && (await isInjected(probe, admit)) !== wanted)
    await sleep({ clock: systemClock, signal: bounded }, pauseMs).catch(() => undefined)
}

/** Pods of this namespace are injected without an annotation of their own. */
export function injects({ metadata }: Namespace): boolean {
  const off = metadata.labels?.[injectKey] === 'disabled' || metadata.annotations?.[injectKey] === 'disabled'
  return (metadata.annotations?.[annotation] ?? '') !== '' && !off
}

async function isInjected(probe: Pod, admit: (pod: Pod) => Promise<Pod>): Promise<boolean> {
  try {
    return ((await admit(probe)).spec.initContainers ?? []).length > 0
  } catch (err) {
    // What is wrong with the namespace's annotation is a fault of each pod in it: it has been read.
    if (NsmError.from(err).code === 'FAILED_PRECONDITION') return true
    throw err
  }
}

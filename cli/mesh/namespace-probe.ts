import type { Namespace, Pod } from '../manifest/objects.ts'
import { NsmError } from '@nsm/sdk/errors.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { sleep } from '@nsm/sdk/sleep.js'

const annotation = 'networkservicemesh.io'
const injectKey = 'networkservicemesh.io/inject'
const levelKey = 'pod-security.kubernetes.io/enforce'
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
  const level = isOff(namespace) ? undefined : namespace.metadata.labels?.[levelKey] === 'restricted'
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)])
  const probe: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'probe', namespace: namespace.metadata.name },
    spec: { containers: [{ name: 'probe', command: ['true'] }] },
  }
  const asking: Pod = {
    ...probe,
    metadata: { ...probe.metadata, annotations: { [annotation]: 'kernel://probe' } },
  }
  const isTaken = async (): Promise<boolean> =>
    (await isInjected(probe, admit)) === wanted &&
    (level === undefined || (await isRestricted(asking, admit)) === level)
  while (!bounded.aborted && !(await isTaken()))
    await sleep({ clock: systemClock, signal: bounded }, pauseMs).catch(() => undefined)
}

/** Pods of this namespace are injected without an annotation of their own. */
function injects(namespace: Namespace): boolean {
  return (namespace.metadata.annotations?.[annotation] ?? '') !== '' && !isOff(namespace)
}

function isOff({ metadata }: Namespace): boolean {
  return metadata.labels?.[injectKey] === 'disabled' || metadata.annotations?.[injectKey] === 'disabled'
}

/** Where Pod Security is restricted nothing is written in pods: their DNS is told from the start. */
async function isRestricted(asking: Pod, admit: (pod: Pod) => Promise<Pod>): Promise<boolean> {
  return (await admit(asking)).spec.dnsPolicy === 'None'
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

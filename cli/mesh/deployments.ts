import { createHash, randomInt } from 'node:crypto'
import { namespaceOf, type Deployment, type Pod } from '../manifest/objects.ts'

/** Label that ties a pod to the template it was made from, as in Kubernetes. */
export const hashLabel = 'pod-template-hash'

/** A pod of a deployment, as far as the decision needs it. */
export interface OwnedPod {
  readonly key: string
  readonly hash: string
  readonly ready: boolean
  readonly leaving: boolean
}

export interface Plan {
  readonly create: number
  /** Keys of pods. */
  readonly remove: readonly string[]
}

/**
 * What brings a deployment to its replicas: missing pods of the present template are made; those of earlier ones go once the
 * new ones are all ready, surplus ones at once.
 */
export function plan(replicas: number, hash: string, pods: readonly OwnedPod[]): Plan {
  const staying = pods.filter(({ leaving }) => !leaving)
  const fresh = staying.filter((pod) => pod.hash === hash)
  const old = staying.filter((pod) => pod.hash !== hash)
  // Those that aren't ready go first.
  const surplus = fresh
    .toSorted((a, b) => Number(a.ready) - Number(b.ready))
    .slice(0, Math.max(0, fresh.length - replicas))
  const replaced = fresh.filter(({ ready }) => ready).length >= replicas
  return {
    create: Math.max(0, replicas - fresh.length),
    remove: [...surplus, ...(replaced ? old : [])].map(({ key }) => key),
  }
}

/** Changes whenever the template does; field order doesn't matter. */
export function templateHash(deployment: Deployment): string {
  const text = JSON.stringify(deployment.spec.template, sorted)
  return safe(BigInt(`0x${createHash('sha256').update(text).digest('hex').slice(0, 12)}`), 10)
}

/** A pod of the deployment as its controller would send it: with `generateName`, which the name begins with. */
export function podOf(deployment: Deployment, hash: string): Pod {
  const { name } = deployment.metadata
  const { metadata = {}, spec } = deployment.spec.template
  const { name: _name, ...rest } = metadata
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...rest,
      generateName: `${name}-${hash}-`,
      namespace: namespaceOf(deployment),
      labels: { ...metadata.labels, [hashLabel]: hash },
    },
    spec,
  }
}

/** Five letters and digits that make no words, as Kubernetes appends them. */
export function randomSuffix(): string {
  return safe(BigInt(randomInt(2 ** 40)), 5)
}

const alphabet = 'bcdfghjklmnpqrstvwxz2456789'

function safe(value: bigint, length: number): string {
  const base = BigInt(alphabet.length)
  return Array.from({ length }, (_, i) => alphabet[Number((value / base ** BigInt(i)) % base)]).join('')
}

function sorted(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

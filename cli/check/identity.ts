import { NsmError } from '@nsm/sdk/errors.js'
import { authoritiesIn, expiryMs } from '../cluster/certificates.ts'
import { envOf } from '../cluster/pods.ts'
import { listAt, textAt } from '../cluster/fields.ts'
import { inParallel } from '../cluster/in-parallel.ts'
import { metricsOf, readyPods, type Installation } from '../cluster/installation.ts'
import { valuesOf } from '../cluster/metrics.ts'
import type { Check } from './check.ts'
import { expiry } from './expiry.ts'
import type { Facts } from './facts.ts'
import { count, fault, ok, type Finding } from './finding.ts'

const secretName = 'nsm-authority'
const dayMs = 86_400_000

/** Whether the parts can prove who they are, and for how long. */
export const identityChecks: readonly Check[] = [
  { about: 'who issues identities', run: issuer },
  { about: 'the identities of the parts', run: svids },
]

async function issuer({ cluster, installation, nowMs }: Facts): Promise<readonly Finding[]> {
  if (!isEmbedded(installation)) return spire(await cluster.list('/apis/storage.k8s.io/v1/csidrivers'))
  const path = `/api/v1/namespaces/${installation.namespace}/secrets/${secretName}`
  const secret = await cluster.get(path).catch((reason: unknown) => {
    if (NsmError.from(reason).code === 'NOT_FOUND') return undefined
    throw reason
  })
  const hint = 'an agent makes it: kubectl nsm logs agent'
  if (secret === undefined)
    return [
      fault(`there is no Secret ${secretName}: the agents can't share a root`, 'helm upgrade brings it back'),
    ]
  const roots = authoritiesIn(secret)
  if (roots.length === 0) return [fault(`Secret ${secretName} holds no root of the trust domain`, hint)]
  const what = `the trust domain's newest root (of ${count(roots.length, 'root')})`
  return [
    expiry({ what, expiresMs: Math.max(...roots.map((one) => expiryMs(one))), soonMs: dayMs, hint }, nowMs),
  ]
}

/** The agents issue, unless they are told to leave it to somebody else. */
function isEmbedded({ parts }: Installation): boolean {
  const agent = parts.find(({ name }) => name === 'agent')
  if (agent === undefined) return false
  const containers = listAt(agent.object, 'spec', 'template', 'spec', 'containers')
  return containers.every((one) => envOf(one, 'NSM_IDENTITY') !== 'off')
}

function spire(drivers: readonly object[]): readonly Finding[] {
  const isThere = drivers.some((driver) => textAt(driver, 'metadata', 'name') === 'csi.spiffe.io')
  return isThere
    ? [ok('identities come from SPIRE, whose CSI driver is there')]
    : [ok('identities come from elsewhere: neither agents nor a CSI driver of SPIRE issue them')]
}

async function svids({ cluster, installation, nowMs }: Facts): Promise<readonly Finding[]> {
  const pods = readyPods(installation, 'registry', 'nsmgr', 'forwarder')
  const found = await inParallel(pods, 8, async (pod) => {
    const samples = valuesOf(await metricsOf(cluster, pod), 'nsm_svid_expiry_timestamp_seconds')
    return {
      name: pod.metadata.name ?? '',
      expiresMs: Math.min(...samples.map((seconds) => seconds * 1_000)),
    }
  })
  const known = found.filter(({ expiresMs }) => Number.isFinite(expiresMs))
  const first = known.toSorted((a, b) => a.expiresMs - b.expiresMs)[0]
  if (first === undefined) return []
  const what = `the identity that expires first, of ${count(known.length, 'part')} (${first.name}),`
  const hint = `kubectl nsm logs ${isEmbedded(installation) ? 'agent' : 'nsmgr'}`
  return [expiry({ what, expiresMs: first.expiresMs, soonMs: 300_000, hint }, nowMs)]
}

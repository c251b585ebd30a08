import { defineConfig } from '@nsm/sdk/process/config.js'
import { duration } from '@nsm/sdk/process/variables.js'
import { absent } from '@nsm/kubernetes/absent.js'
import { authoritiesIn, expiryMs } from '../cluster/certificates.ts'
import { envOf } from '../cluster/pods.ts'
import { listAt, textAt } from '../cluster/fields.ts'
import { readyPods, type Installation } from '../cluster/installation.ts'
import type { Check } from './check.ts'
import { expiry } from './expiry.ts'
import type { Facts } from './facts.ts'
import { count, fault, ok, type Finding } from './finding.ts'
import { partMetrics } from './part-metrics.ts'

const secretName = 'nsm-authority'
/** Identities and roots are renewed at half of their life: with a quarter left that has failed for long. */
const lateShare = 4
const shortLifeMs = 300_000
const svidLife = defineConfig({ ms: duration('NSM_SVID_TTL', '1h', 'life of an SVID') })

/** Whether the parts can prove who they are, and for how long. */
export const identityChecks: readonly Check[] = [
  { about: 'who issues identities', run: issuer },
  { about: 'the identities of the parts', run: svids },
]

async function issuer({ cluster, installation, nowMs }: Facts): Promise<readonly Finding[]> {
  if (!isEmbedded(installation)) return spire(await cluster.list('/apis/storage.k8s.io/v1/csidrivers'))
  const path = `/api/v1/namespaces/${installation.namespace}/secrets/${secretName}`
  const secret = await cluster.get(path).catch(absent)
  const hint = 'an agent makes it: kubectl nsm logs agent'
  if (secret === undefined)
    return [
      fault(`there is no Secret ${secretName}: the agents can't share a root`, 'helm upgrade brings it back'),
    ]
  const roots = authoritiesIn(secret)
  if (roots.length === 0) return [fault(`Secret ${secretName} holds no root of the trust domain`, hint)]
  const what = `the trust domain's newest root (of ${count(roots.length, 'root')})`
  const newest = roots.reduce((a, b) => (expiryMs(b) > expiryMs(a) ? b : a))
  const soonMs = (expiryMs(newest) - Date.parse(newest.validFrom)) / lateShare
  return [expiry({ what, expiresMs: expiryMs(newest), soonMs, hint }, nowMs)]
}

/** The agents issue, unless they are told to leave it to somebody else. */
function isEmbedded(installation: Installation): boolean {
  const containers = agentContainers(installation)
  return containers.length > 0 && containers.every((one) => envOf(one, 'NSM_IDENTITY') !== 'off')
}

function agentContainers({ parts }: Installation): readonly unknown[] {
  const agent = parts.find(({ name }) => name === 'agent')
  return listAt(agent?.object, 'spec', 'template', 'spec', 'containers')
}

function spire(drivers: readonly object[]): readonly Finding[] {
  const isThere = drivers.some((driver) => textAt(driver, 'metadata', 'name') === 'csi.spiffe.io')
  return isThere
    ? [ok('identities come from SPIRE, whose CSI driver is there')]
    : [ok('identities come from elsewhere: neither agents nor a CSI driver of SPIRE issue them')]
}

async function svids({ cluster, installation, nowMs }: Facts): Promise<readonly Finding[]> {
  const pods = readyPods(installation, 'registry', 'nsmgr', 'forwarder')
  const { found, unasked } = await partMetrics(cluster, pods, 'nsm_svid_expiry_timestamp_seconds')
  const known = found
    .map(({ pod, values }) => ({ pod, expiresMs: Math.min(...values) * 1_000 }))
    .filter(({ expiresMs }) => Number.isFinite(expiresMs))
  const first = known.toSorted((a, b) => a.expiresMs - b.expiresMs)[0]
  if (first === undefined) return unasked
  const what = `the identity that expires first, of ${count(known.length, 'part')} (${first.pod}),`
  const hint = `kubectl nsm logs ${isEmbedded(installation) ? 'agent' : 'nsmgr'}`
  const soonMs = svidLifeMs(installation) / lateShare
  return [expiry({ what, expiresMs: first.expiresMs, soonMs, hint }, nowMs), ...unasked]
}

/** How long the agents let an identity live; of others the shortest that is usual. */
function svidLifeMs(installation: Installation): number {
  if (!isEmbedded(installation)) return shortLifeMs
  const [container] = agentContainers(installation)
  return svidLife.parse({ NSM_SVID_TTL: envOf(container, 'NSM_SVID_TTL') }).ms
}

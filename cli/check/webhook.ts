import type { X509Certificate } from 'node:crypto'
import { absent } from '@nsm/kubernetes/absent.js'
import { authoritiesIn, certificatesIn, expiryMs } from '../cluster/certificates.ts'
import { at, listAt, textAt } from '../cluster/fields.ts'
import { readyPods } from '../cluster/installation.ts'
import { webhookName } from '../cluster/names.ts'
import type { Check } from './check.ts'
import { expiry } from './expiry.ts'
import type { Facts } from './facts.ts'
import { count, fault, ok, some, warning, type Finding } from './finding.ts'
import { injectorOf } from './injector.ts'
import { partMetrics } from './part-metrics.ts'
import { trial } from './trial.ts'

const configurationPath = `/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/${webhookName}`
const secretName = 'nsm-webhook-ca'
const dayMs = 86_400_000

/** Whether pods that ask get their sidecar, and will go on to get it. */
export const webhookChecks: readonly Check[] = [
  { about: 'the webhook configuration', run: configuration },
  { about: "the webhook's certificate authority", run: authority },
  { about: "the webhook's serving certificates", run: serving },
  { about: "the webhook's endpoints", run: endpoints },
  { about: 'injection', run: trial },
]

async function configuration({ cluster, installation }: Facts): Promise<readonly Finding[]> {
  const injector = await injectorOf(cluster)
  if (injector === undefined)
    return [
      fault(
        `there is no webhook configuration ${webhookName}: no pod gets a sidecar`,
        'helm upgrade brings it back',
      ),
    ]
  if (injector.by === 'policy')
    return [ok('there is none: API servers inject by themselves (injection.by: policy)')]
  if (installation.parts.every(({ name }) => name !== 'webhook'))
    return [fault('there is no webhook, but its configuration', 'helm upgrade brings it back')]
  const isStrict = listAt(injector.object, 'webhooks').some((one) => textAt(one, 'failurePolicy') === 'Fail')
  if (!isStrict)
    return [
      warning(
        'failurePolicy is Ignore: while the webhook is away, pods that ask for services start without them',
        'set webhook.failurePolicy to Fail: pods that don’t ask are never held up',
      ),
    ]
  return [
    ok(
      'the configuration is there; failurePolicy is Fail: pods that ask for services never start without them',
    ),
  ]
}

async function authority({ cluster, installation, nowMs }: Facts): Promise<readonly Finding[]> {
  const found = await cluster.get(configurationPath).catch(absent)
  if (found === undefined) return []
  const logs = 'the replicas put it there: kubectl nsm logs webhook'
  const bundles = listAt(found, 'webhooks').map((one) => bundleOf(one))
  if (bundles.length === 0 || bundles.some((bundle) => bundle.length === 0))
    return [fault('the configuration has no caBundle: the API server trusts no replica of the webhook', logs)]
  const latest = Math.max(...bundles.flat().map((one) => expiryMs(one)))
  const what = 'the caBundle'
  const life = expiry({ what, expiresMs: latest, soonMs: 30 * dayMs, hint: logs }, nowMs)
  const secretPath = `/api/v1/namespaces/${installation.namespace}/secrets/${secretName}`
  const secret = await cluster.get(secretPath).catch(absent)
  if (secret === undefined) return [life]
  const issuing = authoritiesIn(secret).filter((one) => expiryMs(one) > nowMs)
  const unknown = issuing.filter((one) => bundles.some((bundle) => !has(bundle, one)))
  if (unknown.length > 0)
    return [life, fault('the caBundle does not hold the authority that the replicas sign with', logs)]
  return [
    life,
    ...(issuing.length > 0 ? [ok('the caBundle is that of the authority which the replicas sign with')] : []),
  ]
}

async function serving({ cluster, installation, nowMs }: Facts): Promise<readonly Finding[]> {
  const pods = readyPods(installation, 'webhook')
  const metric = 'nsm_webhook_certificate_expiry_timestamp_seconds'
  const { found, unasked } = await partMetrics(cluster, pods, metric)
  const first = Math.min(...found.flatMap(({ values }) => values)) * 1_000
  if (!Number.isFinite(first)) return unasked
  const what = pods.length === 1 ? 'its serving certificate' : 'the serving certificate that expires first'
  const hint = 'kubectl nsm logs webhook says why it was not renewed'
  return [expiry({ what, expiresMs: first, soonMs: 3_600_000, hint }, nowMs), ...unasked]
}

async function endpoints({ cluster }: Facts): Promise<readonly Finding[]> {
  const found = await cluster.get(configurationPath).catch(absent)
  const services = new Map<string, string>()
  for (const one of listAt(found, 'webhooks'))
    services.set(
      textAt(one, 'clientConfig', 'service', 'name'),
      textAt(one, 'clientConfig', 'service', 'namespace'),
    )
  services.delete('')
  return Promise.all(
    [...services].map(async ([service, namespace]) => {
      const slices = await cluster.list(`/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`, {
        labelSelector: `kubernetes.io/service-name=${service}`,
      })
      const all = slices.flatMap((slice) => listAt(slice, 'endpoints'))
      const ready = all.filter((one) => at(one, 'conditions', 'ready') !== false)
      const names = ready.map((one) => textAt(one, 'targetRef', 'name')).filter((name) => name !== '')
      return ready.length > 0
        ? ok(
            `Service ${namespace}/${service} leads to ${count(ready.length, 'ready replica')}: ${some(names)}`,
          )
        : fault(`Service ${namespace}/${service} leads to no ready replica`, 'kubectl nsm logs webhook')
    }),
  )
}

function bundleOf(webhook: unknown): readonly X509Certificate[] {
  return certificatesIn(Buffer.from(textAt(webhook, 'clientConfig', 'caBundle'), 'base64').toString('latin1'))
}

function has(bundle: readonly X509Certificate[], wanted: X509Certificate): boolean {
  return bundle.some(({ fingerprint256 }) => fingerprint256 === wanted.fingerprint256)
}

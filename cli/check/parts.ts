import { envOf, isReady, waitsFor } from '../cluster/pods.ts'
import type { Item } from '../cluster/cluster.ts'
import { listAt } from '../cluster/fields.ts'
import type { Installation, Part, PartName } from '../cluster/installation.ts'
import type { Check } from './check.ts'
import { count, fault, ok, some, warning, type Finding } from './finding.ts'

/** Whether everything that belongs to the mesh is there, runs, and is of one version. */
export const installationChecks: readonly Check[] = [
  { about: 'the release', run: async ({ installation }) => release(installation) },
  { about: 'the parts', run: async ({ installation }) => installation.parts.map(rollout) },
  { about: 'the parts that must be there', run: async ({ installation }) => missing(installation) },
  { about: 'versions', run: async ({ installation }) => versions(installation) },
  {
    about: 'versions of the sidecars',
    run: async ({ installation, injectedPods }) => sidecars(installation, await injectedPods()),
  },
]

/** The webhook is looked at by itself: API servers may inject without it. */
const needed: readonly PartName[] = ['registry', 'nsmgr', 'forwarder']

function release({ namespace, release: name, chart, version, parts }: Installation): readonly Finding[] {
  const elsewhere = [...new Set(parts.map((part) => part.namespace))].filter((one) => one !== namespace)
  if (elsewhere.length > 0)
    return [
      fault(
        `the mesh is installed more than once: in ${some([namespace, ...elsewhere])}`,
        'helm list -A; uninstall all but one',
      ),
    ]
  const what = [chart, version].filter((word) => word !== '').join(', version ')
  return [ok(`release ${name || '(not by Helm)'} in namespace ${namespace}${what === '' ? '' : `: ${what}`}`)]
}

function rollout({ name, kind, namespace, wanted, ready, updated, image, pods }: Part): Finding {
  const state = `${name}: ${ready} of ${wanted} ready, ${image}`
  if (wanted === 0)
    return fault(
      kind === 'Deployment' ? `${name} is scaled to 0` : `${name} runs on no node`,
      kind === 'Deployment'
        ? `kubectl scale -n ${namespace} deployment -l app.kubernetes.io/name=nsm,app.kubernetes.io/component=${name} --replicas=1`
        : 'its node selector and tolerations fit no node',
    )
  const late = pods.filter((pod) => !isReady(pod))
  const why = late.map((pod) => `${pod.metadata.name} ${waitsFor(pod)}`.trim())
  if (ready < wanted)
    return fault(
      `${state}; not ready: ${some(why, 3) || 'none was made'}`,
      late.length > 0 ? logsOf(name, late) : `kubectl describe -n ${namespace} ${kind.toLowerCase()}`,
    )
  if (updated < wanted)
    return warning(`${state}; ${count(wanted - updated, 'pod')} of an earlier form`, 'wait for the roll-out')
  return ok(state)
}

/** What keeps a container from running stands in the log of the one before it. */
function logsOf(name: PartName, late: readonly Item[]): string {
  const crashed = late.some((pod) => waitsFor(pod).includes('CrashLoopBackOff'))
  return `kubectl nsm logs ${name}${crashed ? ' --previous' : ''}`
}

function missing({ parts }: Installation): readonly Finding[] {
  const absent = needed.filter((name) => parts.every((part) => part.name !== name))
  return absent.map((name) => fault(`there is no ${name}`, 'helm upgrade brings it back'))
}

/** Images of one mesh are built and tagged together; a digest says nothing about others. */
function versions({ parts }: Installation): readonly Finding[] {
  const tags = new Map<string, string[]>()
  for (const { name, image } of parts) {
    const tag = tagOf(image)
    if (tag !== '') tags.set(tag, [...(tags.get(tag) ?? []), name])
  }
  if (tags.size <= 1) return [ok(`all parts are of version ${[...tags.keys()].join('') || 'by digest'}`)]
  const list = [...tags].map(([tag, names]) => `${tag} (${names.join(', ')})`)
  return [warning(`parts are of different versions: ${list.join('; ')}`, 'fine during an upgrade only')]
}

function sidecars(
  { parts }: Installation,
  pods: readonly { readonly image: string; readonly namespace: string; readonly name: string }[],
): readonly Finding[] {
  const webhook = parts.find(({ name }) => name === 'webhook')
  const container = listAt(webhook?.object, 'spec', 'template', 'spec', 'containers')[0]
  const newest = (envOf(container, 'NSM_CONTAINER_IMAGES') ?? '').split(',').map((image) => image.trim())
  if (newest.join('') === '' || pods.length === 0) return []
  const old = pods.filter(({ image }) => !newest.includes(image))
  if (old.length === 0)
    return [ok(`${count(pods.length, 'sidecar')}, of the version that the webhook gives: ${newest[0]}`)]
  return [
    warning(
      `${count(old.length, 'pod')} of ${pods.length} have another sidecar than ${newest[0]}: ${some(old.map(({ namespace, name }) => `${namespace}/${name}`))}`,
      'they work; pods get the new one when they are made anew, as by `kubectl rollout restart`',
    ),
  ]
}

/** Tag of an image; empty when it has none or only a digest. */
function tagOf(image: string): string {
  const [name = ''] = image.split('@')
  return /:([^/:]+)$/.exec(name)?.[1] ?? ''
}

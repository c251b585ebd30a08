/** What a call to the API server does, as `kubectl auth can-i` wants to be asked. */
export type Verb = 'get' | 'list' | 'create'

/** The line by which somebody finds out whether they may do what was refused: `kubectl auth can-i list pods -n demo`. */
export function canI(verb: Verb, path: string): string {
  const { pathname } = new URL(path, 'http://cluster')
  const [, group, rest] = /^\/(?:api\/[^/]+|apis\/([^/]+)\/[^/]+)\/(.+)$/.exec(pathname) ?? []
  if (rest === undefined) return `kubectl auth can-i ${verb} ${pathname}`
  const steps = rest.split('/').map(decodeURIComponent)
  const namespace = steps[0] === 'namespaces' && steps.length > 2 ? steps[1] : undefined
  const [kind = '', name, below] = namespace === undefined ? steps : steps.slice(2)
  const words = [
    `${kind}${group === undefined ? '' : `.${group}`}${name === undefined ? '' : `/${ofPod(name)}`}`,
    ...(below === undefined ? [] : [`--subresource=${below}`]),
    ...whereOf(kind, namespace),
  ]
  return `kubectl auth can-i ${verb} ${words.join(' ')}`
}

/** A proxied pod is named with its port. */
function ofPod(name: string): string {
  return name.replace(/:\d+$/, '')
}

function whereOf(kind: string, namespace: string | undefined): readonly string[] {
  if (namespace !== undefined) return ['-n', namespace]
  return unscoped.has(kind) ? [] : ['-A']
}

/** Kinds that lie in no namespace. */
const unscoped: ReadonlySet<string> = new Set([
  'nodes',
  'namespaces',
  'customresourcedefinitions',
  'mutatingwebhookconfigurations',
  'csidrivers',
])

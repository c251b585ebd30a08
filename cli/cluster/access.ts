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
  const resource = `${kind}${group === undefined ? '' : `.${group}`}`
  // Rights below an object, as to ask a pod, are hardly given by its name.
  const what =
    below === undefined
      ? name === undefined
        ? [resource]
        : [`${resource}/${name}`]
      : [resource, `--subresource=${below}`]
  return ['kubectl auth can-i', verb, ...what, ...whereOf(kind, namespace)].join(' ')
}

/** Whether the API server said that somebody may not do something, rather than that something is not allowed to be. */
export function lacksRights(message: string): boolean {
  return / cannot (?:get|list|watch|create) |\(Unauthorized\)$/.test(message)
}

/** The line that an error's message ends with, when it is about rights. */
export function rightsLine(message: string): string | undefined {
  return /see `(kubectl auth can-i [^`]*)`$/.exec(message)?.[1]
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

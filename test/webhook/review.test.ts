import { answerReview, namespaceToKnow } from '@nsm/webhook/review.js'
import type { InjectionSettings } from '@nsm/webhook/inject.js'
import { noNamespaces, type NamespaceInfo, type Namespaces } from '@nsm/webhook/namespaces.js'
import * as fc from 'fast-check'
import jsonpatch, { type Operation } from 'fast-json-patch'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import t from 'tap'

const golden = new URL('../../webhook/golden/', import.meta.url)

const settings: InjectionSettings = {
  annotation: 'networkservicemesh.io',
  containerImages: ['example.com/nsm/sidecar:1.0'],
  initContainerImages: [],
  sockets: 'auto',
  nativeSidecars: true,
  readinessGate: false,
  readinessProbe: false,
  envs: {},
  nsurlEnvName: 'NSM_NETWORK_SERVICES',
  labels: { 'spiffe.io/spiffe-id': 'true' },
  resources: { requestsCpu: '10m', requestsMemory: '24Mi', limitsCpu: '200m', limitsMemory: '96Mi' },
  dns: {
    mode: 'coredns',
    resolvConf: 'auto',
    image: 'example.com/coredns-fanout:1.11',
    cluster: { servers: ['10.96.0.10'], domain: 'cluster.local', nodeSearch: ['corp.example'] },
    resources: { requestsCpu: '10m', requestsMemory: '32Mi', limitsCpu: '200m', limitsMemory: '128Mi' },
  },
}

interface Case {
  readonly namespace?: {
    readonly labels?: Record<string, string>
    readonly annotations?: Record<string, string>
  }
  readonly settings?: Partial<Omit<InjectionSettings, 'dns'>> & { dns?: Partial<InjectionSettings['dns']> }
  readonly request?: Record<string, unknown>
  readonly pod: unknown
  readonly response?: unknown
}

function namespacesOf(info: Case['namespace']): Namespaces {
  const namespace: NamespaceInfo | undefined = info && {
    labels: new Map(Object.entries(info.labels ?? {})),
    annotations: new Map(Object.entries(info.annotations ?? {})),
  }
  return { ...noNamespaces, get: (name) => (name === 'shop' ? namespace : undefined) }
}

function reviewOf(pod: unknown, request: Record<string, unknown> = {}): unknown {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      namespace: 'shop',
      operation: 'CREATE',
      object: pod,
      ...request,
    },
  }
}

interface Response {
  readonly allowed: boolean
  readonly patch?: string
  readonly status?: { readonly message: string }
  readonly warnings?: readonly string[]
}

function ask(pod: unknown, more: Omit<Case, 'pod'> = {}): { response: Response; patch: Operation[] } {
  const answer = answerReview(
    reviewOf(pod, more.request),
    { ...settings, ...more.settings, dns: { ...settings.dns, ...more.settings?.dns } },
    namespacesOf(more.namespace),
  )
  const response = answer.body['response'] as Response
  const patch = JSON.parse(Buffer.from(response.patch ?? 'W10=', 'base64').toString()) as Operation[]
  return { response, patch }
}

function mutate<T>(pod: T, more: Omit<Case, 'pod'> = {}): T {
  return jsonpatch.applyPatch(structuredClone(pod), ask(pod, more).patch, true).newDocument
}

t.test('golden answers', async (t) => {
  for (const file of readdirSync(golden)) {
    const url = new URL(file, golden)
    const given = JSON.parse(readFileSync(url, 'utf8')) as Case
    const { response, patch } = ask(given.pod, given)
    const shown = { ...response, ...(response.patch === undefined ? {} : { patch }) }
    if (process.env['UPDATE_GOLDEN'] === '1') {
      writeFileSync(url, `${JSON.stringify({ ...given, response: shown }, null, 2)}\n`)
    }
    t.same(shown, given.response, file)
    if (patch.length > 0) t.same(ask(mutate(given.pod, given), given).patch, [], `${file}: once is enough`)
  }
})

const annotated = (more: Record<string, unknown> = {}, spec: Record<string, unknown> = {}): unknown => ({
  metadata: { name: 'p', annotations: { 'networkservicemesh.io': 'kernel://db/nsm-1' }, ...more },
  spec: { containers: [{ name: 'app', image: 'app' }], ...spec },
})

t.test('what is malformed is refused with its place and an example', async (t) => {
  for (const [text, message] of [
    ['kernel://', /position 9/],
    ['kernel://db/nsm-1,', /position 18/],
    ['kernal://db/nsm-1', /position 0: found "kernal/],
    ['kernel://db:80/nsm-1', /position 11/],
    ['kernel://db/nsm-1\r\nX: y', /position 17/],
    ['kernel://db/nsm-1,kernel://web/nsm-1', /twice/],
    ['kernel://db/eth0', /position 12/],
    ['kernel://db/😀', /position 12/],
    [`kernel://db?a=${'x'.repeat(1_048_576)}`, /at most 4096/],
    [`${'kernel://svc,'.repeat(500)}kernel://svc`, /at most 4096/],
  ] as const) {
    const { response } = ask(annotated({ annotations: { 'networkservicemesh.io': text } }))
    t.equal(response.allowed, false, text.slice(0, 40))
    t.match(response.status?.message, message)
    t.match(response.status?.message, 'for example kernel://my-service/nsm-1?app=my-app')
  }
})

t.test('what is no creation of a pod is let through untouched', async (t) => {
  for (const request of [
    { operation: 'UPDATE' },
    { operation: 'DELETE', object: null, oldObject: annotated() },
    { subResource: 'ephemeralcontainers' },
    { kind: { group: 'apps', version: 'v1', kind: 'Deployment' } },
  ]) {
    const { response, patch } = ask(annotated(), { request })
    t.match(response, { allowed: true, auditAnnotations: { 'skipped-reason': 'not_a_pod_creation' } })
    t.same(patch, [])
  }
})

t.test('a review that cannot be answered', async (t) => {
  const namespaces = namespacesOf(undefined)
  for (const review of [
    undefined,
    null,
    [],
    { kind: 'AdmissionReview' },
    { kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', request: { uid: '' } },
  ]) {
    t.match(answerReview(review, settings, namespaces), {
      status: 400,
      body: { message: /request that has a uid/ },
    })
  }
  const old = { ...(reviewOf(annotated()) as object), apiVersion: 'admission.k8s.io/v1beta1' }
  t.match(answerReview(old, settings, namespaces), {
    status: 400,
    body: { message: 'apiVersion must be admission.k8s.io/v1, not "admission.k8s.io/v1beta1"' },
  })
  t.match(ask(null).response, { allowed: false, status: { message: 'the request has no object' } })
  t.match(
    ask(annotated({}, {}), { request: { object: { metadata: { annotations: settings.labels } } } }).response,
    {
      allowed: true,
    },
  )
})

t.test('a namespace that is not known yet: nothing is taken for granted', async (t) => {
  const namespaces: Namespaces = { ...noNamespaces, isComplete: true }
  const answer = (pod: unknown, request: object = {}): ReturnType<typeof answerReview> =>
    answerReview(reviewOf(pod, { ...request }), settings, namespaces)
  t.match(answer(annotated()).body['response'], {
    allowed: false,
    status: { message: 'namespace shop is not known to the webhook yet; try again in a moment' },
  })
  const silentPod = annotated({ annotations: {} })
  t.match(answer(silentPod), {
    status: 503,
    body: { message: /shop is not known/ },
    decision: { result: 'unanswered', reason: 'unknown_namespace' },
  })
  t.match(answer(silentPod, { operation: 'UPDATE' }).body['response'], { allowed: true })
  const optedOut = annotated({ labels: { 'networkservicemesh.io/inject': 'disabled' } })
  t.match(answer(optedOut).body['response'], { allowed: true })
})

t.test('which namespace must be known', async (t) => {
  t.equal(namespaceToKnow(reviewOf(annotated())), 'shop')
  t.equal(namespaceToKnow(reviewOf(annotated(), { operation: 'DELETE' })), undefined)
  for (const review of [undefined, null, 'x', {}, { request: 1 }]) t.equal(namespaceToKnow(review), undefined)
})

t.test('warnings are whole sentences that the API server does not cut, audit keys are names', async (t) => {
  const annotations = {
    'networkservicemesh.io': 'kernel://db',
    [`networkservicemesh.io/${'x'.repeat(60)}`]: '',
  }
  const [warning] = ask(annotated({ annotations })).response.warnings ?? []
  t.ok((warning ?? '').length <= 120)
  for (const file of readdirSync(golden)) {
    const { response } = JSON.parse(readFileSync(new URL(file, golden), 'utf8')) as { response: Response }
    const audit = Object.keys((response as { auditAnnotations?: object }).auditAnnotations ?? {})
    t.ok(
      audit.every((key) => /^[a-z-]{1,40}$/.test(key)),
      'the API server puts the webhook’s name and a slash in front',
    )
    const sentences = (response.warnings ?? []).filter((text) => !text.includes('xxxxx'))
    for (const text of sentences) t.notMatch(text, /…$|^warning/i, `${file}: ${text}`)
  }
})

t.test('dry run: the same patch', async (t) => {
  t.same(ask(annotated(), { request: { dryRun: true } }).patch, ask(annotated()).patch)
})

t.test('five hundred containers', async (t) => {
  const containers = Array.from({ length: 500 }, (_, i) => ({
    name: `c${i}`,
    image: 'x',
    ports: [{ containerPort: 9080 + i }],
  }))
  const pod = mutate(annotated({}, { containers, initContainers: containers })) as {
    spec: { initContainers: { name: string; startupProbe: unknown }[] }
  }
  t.equal(pod.spec.initContainers.length, 502)
  t.match(pod.spec.initContainers[0], { name: 'sidecar', startupProbe: { httpGet: { port: 9580 } } })
})

t.test('the patch does not land on another list', async (t) => {
  const { patch } = ask(annotated({}, { initContainers: [{ name: 'first' }] }))
  const other = annotated({}, { initContainers: [{ name: 'someone-else' }] })
  t.throws(() => jsonpatch.applyPatch(other, patch, true), /Test operation failed/)
})

const unknownFields = fc.dictionary(fc.stringMatching(/^x[a-z]{1,6}$/), fc.jsonValue(), { maxKeys: 3 })
const name = fc.stringMatching(/^[a-z]([a-z0-9-]{0,6}[a-z0-9])?$/).filter((text) => text !== 'sidecar')
const container = fc
  .tuple(name, unknownFields, fc.option(fc.integer({ min: 9075, max: 9085 })))
  .map(([name, more, port]) => ({
    ...more,
    name,
    image: 'x',
    ...(port === null ? {} : { ports: [{ containerPort: port }] }),
  }))
const podOf = fc
  .record(
    {
      containers: fc.array(container, { maxLength: 3 }),
      initContainers: fc.option(fc.array(container, { maxLength: 3 })),
      volumes: fc.option(fc.array(fc.record({ name, emptyDir: fc.constant({}) }), { maxLength: 3 })),
      labels: fc.option(fc.dictionary(name, name, { maxKeys: 2 })),
      more: unknownFields,
    },
    { requiredKeys: ['containers'] },
  )
  .map(({ containers, initContainers, volumes, labels, more }) =>
    annotated(
      { ...more, ...(labels === undefined ? {} : { labels }) },
      {
        ...more,
        containers,
        ...(initContainers === undefined ? {} : { initContainers }),
        ...(volumes === undefined ? {} : { volumes }),
      },
    ),
  )

t.test('property: once is enough, and nothing that was there is lost', async () => {
  fc.assert(
    fc.property(podOf, (pod) => {
      const once = mutate(pod)
      if (ask(once).patch.length > 0) return false
      return ask(pod).patch.every(
        ({ op, path, ...rest }) =>
          op === 'test' ||
          (op === 'add' &&
            (path.endsWith('/-') || /\/initContainers\/\d$/.test(path) || isNew(pod, path, rest))),
      )
    }),
    { numRuns: 300 },
  )
})

/** Nothing but a null stands where the patch puts a whole value. */
function isNew(pod: unknown, path: string, _rest: unknown): boolean {
  return (jsonpatch.getValueByPointer(pod, path) ?? null) === null
}

t.test('property: hostile pods never crash it', async () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), fc.string(), (metadata, spec, text) => {
      const pods = [
        { metadata, spec },
        annotated({ labels: metadata }, { initContainers: spec, volumes: metadata, containers: spec }),
        annotated({ annotations: { 'networkservicemesh.io': text } }),
      ]
      return pods.every((pod) => typeof ask(pod).response.allowed === 'boolean')
    }),
    { numRuns: 300 },
  )
})

t.test('an annotation that is nearly the right one is warned of', async (t) => {
  const warningsFor = (key: string): unknown => {
    const pod = { metadata: { annotations: { [key]: 'kernel://db/nsm-1' } }, spec: { containers: [] } }
    const { response } = answerReview(reviewOf(pod), settings, namespacesOf({})).body
    return (response as { warnings?: unknown }).warnings
  }
  for (const key of [
    'networkservicemesh.io/',
    'networkservicemesh',
    'networkservicmesh.io',
    'networkservicesmesh.io',
  ])
    t.same(warningsFor(key), [`annotation ${key} means nothing; did you mean networkservicemesh.io?`])
  for (const key of ['example.com/other', 'networkservicemesh.io/inject', 'kubernetes.io/psp'])
    t.equal(warningsFor(key), undefined, key)
})

t.test('sixty thousand annotations are answered with a few words', async (t) => {
  const many = Array.from({ length: 60_000 }, (_, i) => [`networkservicemesh.io/key-${i}`, ''])
  const asking = Object.fromEntries([['networkservicemesh.io', 'kernel://db/nsm-1'], ...many])
  const { response, patch } = ask(annotated({ annotations: asking }))
  t.ok(patch.length > 0, 'injected')
  t.equal(response.warnings?.length, 6)
  t.equal(response.warnings?.at(-1), 'and 59995 more annotations networkservicemesh.io/… mean nothing')
  const silent = ask(annotated({ annotations: Object.fromEntries(many) }))
  t.equal(silent.response.allowed, true)
  t.same(silent.response.warnings ?? [], [])
})

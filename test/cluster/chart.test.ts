import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { connectCluster } from './harness/cluster.ts'
import { CommandError, run } from './harness/command.ts'
import { down, up } from './harness/lifecycle.ts'
import { progress } from './harness/progress.ts'
import { checkout, minors, openTools } from './harness/tools.ts'
import { chart, chartRenderer } from './rendered-chart.ts'

const golden = path.join(checkout, 'test/cluster/golden')
const report = progress((line) => t.comment(line))
const tools = await openTools(report)
const { helm, render, objects } = chartRenderer(tools)

/** The ways to install that are looked at; the first is how most do. */
const ways: Readonly<Record<string, readonly string[]>> = {
  default: [],
  ha: ['--values', path.join(chart, 'values-ha.yaml')],
  policy: ['--set', 'injection.by=policy'],
  restricted: ['--set', 'sidecar.podSecurity=restricted'],
  spire: [
    '--set',
    'identity.mode=spire,identity.spire.socket=csi,sidecar.sockets=csi,agent.podCondition=true',
  ],
}

t.test('helm finds nothing to complain about', async (t) => {
  for (const [name, args] of Object.entries(ways)) {
    const said = await helm('lint', chart, '--strict', '--kube-version', '1.37.2', ...args)
    t.match(said, '0 chart(s) failed', name)
    t.notMatch(said, /\[(WARNING|ERROR)\]/, name)
  }
})

t.test('what is rendered is what was looked at (UPDATE_GOLDEN=1 writes it anew)', async (t) => {
  await mkdir(golden, { recursive: true })
  for (const [name, args] of Object.entries(ways)) {
    const file = path.join(golden, `${name}.yaml`)
    const rendered = await render(args)
    if (process.env['UPDATE_GOLDEN'] === '1') await writeFile(file, rendered)
    t.equal(rendered, await readFile(file, 'utf8'), name)
    t.equal(rendered, await render(args), `${name} is the same each time`)
  }
})

t.test('wrong values are refused with their place', async (t) => {
  const wrong: Readonly<Record<string, RegExp>> = {
    'webhook.replicsa=3': /'\/webhook'.*'replicsa' not allowed/,
    'identity.mode=none': /'\/identity\/mode'.*'embedded', 'spire'/,
    'agent.resources.limits.memory=64Mx': /'\/agent\/resources\/limits\/memory': '64Mx'/,
    'nsmgr.maxUnavailable=0': /'\/nsmgr\/maxUnavailable'/,
    'forwarder.capabilities={ALL}': /'\/forwarder\/capabilities\/0'/,
    'forwarder.capabilities={CAP_NET_ADMIN}': /'\/forwarder\/capabilities\/0'/,
    'forwarder.capabilities={NET_ADMINS}': /'\/forwarder\/capabilities\/0'/,
    'prefixes.excluded={10.0.0.0}': /'\/prefixes\/excluded\/0'/,
    'prefixes.excluded={10.0.0.0/99}': /'\/prefixes\/excluded\/0'/,
    'prefixes.excluded={fd00::/129}': /'\/prefixes\/excluded\/0'/,
    'nsmgr.image.digest=sha256:12': /'\/nsmgr\/image\/digest'/,
    'sidecar.env.A=b\\,c': /'\/sidecar\/env\/A'/,
  }
  for (const [value, message] of Object.entries(wrong))
    await t.rejects(render(['--set', value]), { message }, value)
})

t.test('values that cannot be together are refused with what would be right', async (t) => {
  const wrong: Readonly<Record<string, RegExp>> = {
    'registry.store=memory,registry.replicas=2':
      /registry\.replicas must be 1 with registry\.store: memory, not 2/,
    'sidecar.sockets=csi,agent.csi.enabled=false': /sidecar\.sockets: csi needs agent\.csi\.enabled: true/,
    'identity.mode=spire,identity.spire.hostPath=/run/other':
      /hostPath: \/run\/other needs sidecar\.sockets: csi/,
    'sidecar.podSecurity=restricted,agent.csi.enabled=false':
      /sidecar\.podSecurity: restricted needs agent\.csi\.enabled: true/,
    'sidecar.podSecurity=restricted,sidecar.sockets=hostpath': /sidecar\.podSecurity: restricted needs/,
    'injection.by=policy,agent.csi.enabled=false': /injection\.by: policy needs agent\.csi\.enabled: true/,
    'injection.by=policy,sidecar.sockets=hostpath':
      /injection\.by: policy needs .*sidecar\.sockets: auto or csi/,
    'injection.by=policy,identity.mode=spire':
      /injection\.by: policy with identity\.mode: spire needs .*identity\.spire\.socket: csi/,
    'sidecar.readinessGate=true,agent.events=false': /needs agent\.events: true or agent\.podCondition: true/,
    'forwarder.opsPort=8084': /must differ, and both are 8084/,
    'test.namespace=nsm-system': /test\.namespace must be one that is not there yet, not nsm-system/,
    'test.podSecurity=restricted,agent.csi.enabled=false':
      /test\.podSecurity: restricted needs agent\.csi\.enabled: true/,
    'test.podSecurity=baseline,sidecar.sockets=hostpath': /test\.podSecurity: baseline needs/,
  }
  for (const [value, message] of Object.entries(wrong))
    await t.rejects(render(['--set', value]), { message }, value)
})

t.test('the test is as strict as the way pods get their sockets allows', async (t) => {
  const levels: Readonly<Record<string, string>> = {
    'agent.csi.enabled=true': 'restricted',
    'agent.csi.enabled=false': 'privileged',
    'sidecar.sockets=hostpath': 'privileged',
    'identity.mode=spire': 'privileged',
    'identity.mode=spire,test.podSecurity=restricted': 'restricted',
    'identity.mode=spire,identity.spire.socket=csi': 'restricted',
  }
  for (const [value, level] of Object.entries(levels)) {
    const text = await render(['--set', value])
    t.match(text, `pod-security.kubernetes.io/enforce: ${level}\n`, value)
  }
  const without = await render(['--set', 'agent.csi.enabled=false'])
  t.notMatch(without, 'csi:', 'where there is no driver no volume asks for one')
  const [, agent = ''] = /kind: DaemonSet\nmetadata:\n  name: agent\n([^]*?)\n---/.exec(without) ?? []
  t.match(agent, 'drop: [ALL]')
  t.notMatch(agent, /privileged: true|add:/, 'who mounts for nobody needs no right on the node')
  t.match(without, 'name: NSM_SOCKETS\n              value: hostpath')
})

t.test('values reach what they are about', async (t) => {
  const digest = `sha256:${'a'.repeat(64)}`
  const sets = [
    ...['image.prefix=example.org/mesh', `registry.image.digest=${digest}`, 'webhook.image.tag=v9'],
    ...['imagePullSecrets[0].name=pull', 'webhook.failurePolicy=Ignore', 'networkPolicy.enabled=false'],
    ...['webhook.replicas=1', 'prefixes.enabled=false', 'podMonitor.enabled=true'],
    ...['nsmgr.listenOn=tcp://[$(POD_IP)]:15001', 'nsmgr.hostPID=true'],
  ]
  const text = await render(sets.flatMap((set) => ['--set', set]))
  t.match(text, `image: "example.org/mesh/registry@${digest}"`)
  t.match(text, 'image: "example.org/mesh/webhook:v9"')
  t.match(text, 'image: "example.org/mesh/nsmgr:0.1.0"')
  t.match(text, 'value: "example.org/mesh/sidecar:0.1.0"')
  t.match(text, 'imagePullSecrets:\n        - name: pull')
  t.notMatch(text, 'failurePolicy: Fail\n    matchPolicy', 'no webhook')
  t.match(text, 'validationActions: [Warn]')
  for (const kind of ['NetworkPolicy', 'PodDisruptionBudget']) t.notMatch(text, `kind: ${kind}`)
  t.notMatch(text, 'component: prefixes')
  t.match(text, 'kind: PodMonitor')
  t.match(text, 'name: nsmgr\n              containerPort: 15001')
  const count = (rendered: string): number => rendered.split('hostPID: true').length - 1
  t.equal(count(text), count(await render([])) + 1, 'the manager sees the processes of its node')
})

t.test('before 1.30 there is no policy, and no field that the server would not know', async (t) => {
  const text = await render([], '1.28.0')
  t.notMatch(text, 'ValidatingAdmissionPolicy')
  t.notMatch(text, 'appArmorProfile')
  const profile = 'container.apparmor.security.beta.kubernetes.io'
  for (const part of ['nsmgr', 'forwarder']) t.match(text, `${profile}/${part}: unconfined`)
  t.match(
    await render(['--set', 'nsmgr.appArmorProfile=RuntimeDefault'], '1.29.3'),
    `${profile}/nsmgr: runtime/default`,
  )
  t.notMatch(await render(['--set', 'nsmgr.appArmorProfile='], '1.29.3'), `${profile}/nsmgr`)
  t.notMatch(await render([], '1.30.0'), profile)
  await t.rejects(render([], '1.27.0'), { message: /requires kubeVersion: >=1\.28/ })
  await t.rejects(render(['--set', 'injection.by=policy'], '1.35.1'), {
    message: /injection\.by: policy needs Kubernetes 1\.36 or later, not v1\.35\.1/,
  })
})

for (const minor of minors) {
  t.test(`an API server of ${minor} takes all of it`, async (t) => {
    const name = `chart-${process.pid}`
    t.teardown(async () => down(name))
    const { kubeconfig } = await up({ name, nodes: 0, minor, progress: report })
    const kubectl = async (args: readonly string[], input?: string): Promise<string> =>
      run(
        [...tools.component('kubectl'), '--kubeconfig', kubeconfig, ...args],
        input === undefined ? {} : { input },
      )
    const { serverVersion } = JSON.parse(await kubectl(['version', '--output', 'json'])) as {
      serverVersion: { major: string; minor: string }
    }
    t.equal(`${serverVersion.major}.${serverVersion.minor}`, minor)
    for (const namespace of ['nsm-system', 'nsm-test']) await kubectl(['create', 'namespace', namespace])
    // Nobody else makes them here, and pods are refused without.
    for (const [namespace, account] of [
      ['nsm-system', 'tools'],
      ['nsm-test', 'default'],
    ] as const)
      await kubectl(['create', 'serviceaccount', account, '--namespace', namespace])
    await kubectl(['apply', '--server-side', '--filename', '-'], await helm('show', 'crds', chart))
    await kubectl(['wait', '--for=condition=Established', 'crd', '--all'])
    const served = await kubectl(['api-resources', '--output', 'name'])
    for (const [way, args] of Object.entries(ways)) {
      if (way === 'policy' && !served.includes('mutatingadmissionpolicies')) continue
      const items = (await objects(args, `${minor}.0`)).filter(({ metadata }) => metadata.name !== 'nsm-test')
      const list = JSON.stringify({ apiVersion: 'v1', kind: 'List', items })
      const dryRun = ['apply', '--server-side', '--dry-run=server', '--validate=strict', '--filename', '-']
      const said = await kubectl(dryRun, list)
      t.equal(said.trim().split('\n').length, items.length, `${way}: each object is taken`)
    }
  })
}

t.test('who may edit a namespace cannot change what is injected into others', async (t) => {
  const cluster = await connectCluster()
  const namespace = 'chart-editors'
  t.teardown(async () => {
    await cluster.kubectl(['delete', 'clusterrolebinding', namespace, '--ignore-not-found'])
  })
  // In all namespaces, and that of the mesh too.
  await cluster.kubectl(['create', 'clusterrolebinding', namespace, '--clusterrole=edit', '--user=ed'])
  const as = ['--as=ed']
  await t.rejects(
    cluster.kubectl([
      ...['patch', 'mutatingwebhookconfiguration', 'nsm-mutating-webhook.networkservicemesh.io', ...as],
      ...['--type=json', '--patch', '[{"op":"replace","path":"/webhooks/0/failurePolicy","value":"Ignore"}]'],
    ]),
    { message: /\(Forbidden\).*User "ed" cannot/ },
  )
  const resources = [
    'mutatingwebhookconfigurations',
    'validatingadmissionpolicies',
    'clusterroles',
    'csidrivers',
  ]
  for (const resource of resources)
    for (const verb of ['create', 'update', 'patch', 'delete'])
      await t.rejects(
        cluster.kubectl(['auth', 'can-i', verb, resource, ...as]),
        CommandError,
        `${verb} ${resource}`,
      )
  t.match(await cluster.kubectl(['auth', 'can-i', 'create', 'pods', '-n', 'default', ...as]), 'yes')
})

import { nodePod } from '@nsm/agent/node-pods.js'
import t from 'tap'

interface Container {
  name: string
  restartPolicy?: string
  env?: { name: string; value?: string; valueFrom?: object }[]
}

const env = (listenOn: string): NonNullable<Container['env']> => [
  { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
  { name: 'NSM_NETWORK_SERVICES', value: 'kernel://db/nsm-1' },
  { name: 'NSM_OPS_LISTEN_ON', value: listenOn },
]
const metadata = { name: 'a', namespace: 'default', uid: 'u', resourceVersion: '7' }

t.test('of a pod little is kept', async (t) => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, labels: { app: 'x' }, annotations: { a: 'b' }, managedFields: [{}] },
    spec: { containers: [{ name: 'app', env: [{ name: 'SECRET', value: 'x' }] }], volumes: [] },
    status: { podIP: '10.0.0.1', conditions: [{ type: 'Ready', status: 'True' as const }] },
  }
  t.strictSame(nodePod(pod), {
    metadata,
    staticUid: undefined,
    daemonSet: undefined,
    ip: '10.0.0.1',
    statusPort: undefined,
    isSidecarRunning: false,
    hasReadinessGate: false,
    connected: undefined,
  })
})

t.test('the sidecar is the lasting container that looks after connections', async (t) => {
  const running = { state: { running: { startedAt: '2026-01-01T00:00:00Z' } } }
  const native: { initContainers: Container[] } = {
    initContainers: [
      { name: 'nsc-init', env: env(':1') },
      { name: 'nsc', restartPolicy: 'Always', env: env(':9080') },
    ],
  }
  t.match(
    nodePod({ metadata, spec: native, status: { initContainerStatuses: [{ name: 'nsc', ...running }] } }),
    {
      statusPort: 9080,
      isSidecarRunning: true,
    },
  )
  const plain: { containers: Container[] } = {
    containers: [{ name: 'app' }, { name: 'nsc', env: env('10.0.0.1:9081') }],
  }
  t.match(
    nodePod({
      metadata,
      spec: plain,
      status: {
        containerStatuses: [
          { name: 'app', ...running },
          { name: 'nsc', state: {} },
        ],
      },
    }),
    {
      statusPort: 9081,
      isSidecarRunning: false,
    },
  )
  for (const listenOn of ['off', 'unix:///run/x', ':0', ':99999', ''])
    t.equal(
      nodePod({ metadata, spec: { containers: [{ name: 'nsc', env: env(listenOn) }] } }).statusPort,
      undefined,
      listenOn,
    )
  t.equal(
    nodePod({ metadata, spec: { initContainers: [{ name: 'nsc', env: env(':1') }] } }).statusPort,
    undefined,
  )
})

t.test('gate and condition are found', async (t) => {
  const connected = { type: 'networkservicemesh.io/connected', status: 'True' as const, reason: 'Connected' }
  const pod = nodePod({
    metadata,
    spec: {
      readinessGates: [{ conditionType: 'other' }, { conditionType: 'networkservicemesh.io/connected' }],
    },
    status: { conditions: [{ type: 'Ready', status: 'False' }, connected] },
  })
  t.match(pod, { hasReadinessGate: true, connected })
})

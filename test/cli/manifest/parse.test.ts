import { parseManifest } from '@nsm/cli/manifest/parse.js'
import t from 'tap'

const pod = (spec: string): string => `
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
${spec}`

/** A container that is right, with one more line. */
const container = (line: string): string => pod(`  containers: [{name: c, command: [sleep], ${line}}]`)

function faultsOf(text: string): readonly string[] {
  try {
    parseManifest(text, 'f')
    return []
  } catch (err) {
    return (err as Error).message.split('\n').map((line) => line.replace(/^f: (\S+ a: )?/, ''))
  }
}

t.test('what the local mesh has is taken', async (t) => {
  const objects = parseManifest(
    `
apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {a: b}}
---
# nothing but a comment
---
apiVersion: networkservicemesh.io/v1
kind: NetworkService
metadata: {name: svc, namespace: demo}
spec:
  payload: ETHERNET
  matches: [{source_selector: {a: b}, routes: [{destination_selector: {app: x}}], fallthrough: true, metadata: {labels: {}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: nse}
spec:
  replicas: 2
  selector: {matchLabels: {app: nse}}
  template:
    metadata: {labels: {app: nse}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: nse
          image: example.org:5000/nsm/icmp-responder:v1@sha256:0
          env:
            - {name: A, value: ''}
            - {name: B, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
          volumeMounts: [{name: sock, mountPath: /run/spire/sockets, readOnly: true}]
          securityContext: {runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
          startupProbe: {httpGet: {path: /readyz, port: 9080}, periodSeconds: 1, failureThreshold: 120}
      volumes: [{name: sock, csi: {driver: csi.spiffe.io, readOnly: true}}]
---
apiVersion: v1
kind: List
items: [{apiVersion: v1, kind: Pod, metadata: {generateName: a-}, spec: {containers: [{name: c, command: [sh]}]}}]
`,
    'f',
  )
  t.same(
    objects.map(({ kind }) => kind),
    ['Namespace', 'NetworkService', 'Deployment', 'Pod'],
  )
})

t.test('what would change behaviour and is not there is refused by its path', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    [
      container('lifecycle: {}'),
      'spec.containers[0].lifecycle is not supported by the local mesh: put the work',
    ],
    [
      container('comand: [x]'),
      'spec.containers[0].comand is not a field that the local mesh knows; did you mean command?',
    ],
    [container('envFrom: []'), 'spec.containers[0].envFrom is not supported'],
    [
      container('livenessProbe: {tcpSocket: {port: 1}}'),
      'spec.containers[0].livenessProbe.tcpSocket is not supported',
    ],
    [
      container('readinessProbe: {}'),
      'spec.containers[0].readinessProbe must have exactly one of httpGet and exec',
    ],
    [
      container('env: [{name: A, valueFrom: {secretKeyRef: {}}}]'),
      'spec.containers[0].env[0].valueFrom.fieldRef is required',
    ],
    [container('env: [{name: "A=B"}]'), 'spec.containers[0].env[0].name must be a name without `=`'],
    [
      container('volumeMounts: [{name: v, mountPath: /a}]'),
      'spec.containers[0].volumeMounts[0].name "v" is not one of',
    ],
    [
      container('volumeMounts: [{name: v, mountPath: /a/../b}]'),
      'spec.containers[0].volumeMounts[0].mountPath must be',
    ],
    [
      container('securityContext: {privileged: true}'),
      'spec.containers[0].securityContext.privileged must be false',
    ],
    [pod('  containers: []'), 'spec.containers must not be empty'],
    [pod('  containers: [{name: c, image: nginx}]'), 'spec.containers[0].command is required, since'],
    [
      pod('  containers: [{name: c, command: [a]}, {name: c, command: [a]}]'),
      'spec.containers[1].name "c" is used twice',
    ],
    [
      pod('  hostNetwork: true\n  containers: [{name: c, command: [a]}]'),
      'spec.hostNetwork must be false in the local',
    ],
    [
      pod('  volumes: [{name: v, configMap: {name: x}}]\n  containers: [{name: c, command: [a]}]'),
      'spec.volumes[0].configMap is not supported',
    ],
    [
      pod('  volumes: [{name: v, hostPath: {path: /}}]\n  containers: [{name: c, command: [a]}]'),
      'spec.volumes[0].hostPath.path must be "/run/spire/sockets" or',
    ],
    [
      pod('  volumes: [{name: v}]\n  containers: [{name: c, command: [a]}]'),
      'spec.volumes[0] must have exactly one kind',
    ],
    [pod('  containers: null'), 'spec.containers is required'],
    [
      'kind: Service\napiVersion: v1\nmetadata: {name: a}',
      'kind Service is not supported by the local mesh, which takes',
    ],
    ['kind: Pod\napiVersion: v2\nmetadata: {name: a}', 'apiVersion must be v1 for a Pod, not v2'],
    ['- 1', 'document: is not an object'],
    [
      'kind: Namespace\napiVersion: v1\nmetadata: {name: Up}',
      'Namespace Up: metadata.name must be a DNS label',
    ],
    ['a: b: c', 'Nested mappings are not allowed'],
    ['a: 1\na: 2', 'Map keys must be unique'],
  ]
  for (const [text, wanted] of cases) {
    const faults = faultsOf(text)
    t.ok(
      faults.some((found) => found.replace(/\s+/g, ' ').includes(wanted)),
      `${wanted} in ${faults.join(' | ')}`,
    )
  }
})

t.test('a Deployment whose selector misses its own pods is refused', async (t) => {
  const text = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec:
  selector: {matchLabels: {app: x}}
  template: {metadata: {labels: {app: y}}, spec: {containers: [{name: c, command: [sh]}]}}`
  t.match(faultsOf(text)[0], /spec.template.metadata.labels must have app: x/)
})

t.test('all faults are told at once', async (t) => {
  t.equal(faultsOf(pod('  hostPID: true\n  hostIPC: true\n  containers: [{name: C}]')).length, 3)
})

t.test('aliases that explode and endless texts end in an error', async (t) => {
  const levels = Array.from(
    { length: 12 },
    (_, i) => `l${i + 1}: &l${i + 1} [${'*l'.concat(`${i},`).repeat(9)}]`,
  )
  t.match(faultsOf(['l0: &l0 [x]', ...levels].join('\n')).join(), /alias/i)
  t.match(faultsOf('#'.repeat(5_000_000)).join(), /bytes long/)
})

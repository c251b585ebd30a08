import { webhookConfig } from '@nsm/webhook/config.js'
import { containerName, imageFault, quantityFault, quantityValue } from '@nsm/webhook/kubernetes-values.js'
import t from 'tap'

t.test('names and defaults of the contract, our numbers', async (t) => {
  t.match(webhookConfig.parse({ NSM_CONTAINER_IMAGES: 'a/sidecar:1' }), {
    name: 'admission-webhook-k8s',
    serviceName: 'default',
    namespace: 'default',
    listenOn: ':443',
    annotation: 'networkservicemesh.io',
    nsurlEnvName: 'NSM_NETWORK_SERVICES',
    containerImages: ['a/sidecar:1'],
    initContainerImages: [],
    envs: {},
    labels: {},
    certFilePath: undefined,
    limitsMemory: '96Mi',
    requestsMemory: '24Mi',
  })
})

t.test('faults are told all at once', async (t) => {
  const env = {
    NSM_INIT_CONTAINER_IMAGES: 'a b',
    NSM_ENVS: '1=2',
    NSM_SIDECAR_LIMITS_CPU: '200 m',
  }
  t.throws(() => webhookConfig.parse(env), {
    message:
      'config: NSM_INIT_CONTAINER_IMAGES must be a list of images; "a b" is no image reference such as example.com/nsm/sidecar:1.0, not "a b"; ' +
      'NSM_CONTAINER_IMAGES is required: images injected as native sidecars; ' +
      'NSM_ENVS must be a list such as NAME=value,OTHER=value, not "1=2"; ' +
      'NSM_SIDECAR_LIMITS_CPU must be a quantity such as 64Mi, 200m or 0.5, not "200 m"',
  })
  t.same(webhookConfig.parse({ NSM_CONTAINER_IMAGES: 'x', NSM_ENVS: 'A=b=c,D=' }).envs, { A: 'b=c', D: '' })
})

t.test('quantities', async (t) => {
  for (const [text, value] of [
    ['64Mi', 67_108_864],
    ['200m', 0.2],
    ['0.5', 0.5],
    ['1e3', 1_000],
    ['2E', 2e18],
    ['1k', 1_000],
  ] as const) {
    t.equal(quantityFault(text), undefined, text)
    t.equal(quantityValue(text), value, text)
  }
  for (const text of ['', '-1', '1 Mi', 'Mi', '1KiB', '1'.repeat(40)]) t.ok(quantityFault(text), text)
})

t.test('images and the names of their containers', async (t) => {
  for (const [image, name] of [
    ['sidecar', 'sidecar'],
    ['localhost:5000/nsm/cmd-nsc:v1.0', 'cmd-nsc'],
    [`example.com/a/b_c@sha256:${'0'.repeat(64)}`, 'b-c'],
  ] as const) {
    t.equal(imageFault(image), undefined, image)
    t.equal(containerName(image), name)
  }
  for (const image of ['', 'a b', 'a/', '/a', 'a@sha256:1', 'x'.repeat(600)]) t.ok(imageFault(image), image)
})

t.test('without a word about a cluster nothing is asked of one', async (t) => {
  t.match(webhookConfig.parse({ NSM_CONTAINER_IMAGES: 'x' }), {
    namespacesFrom: undefined,
    caSecret: undefined,
    webhookConfiguration: undefined,
    nativeSidecars: 'auto',
    sockets: 'auto',
    readinessGate: false,
    readinessProbe: false,
    drainMs: 0,
  })
  const env = { NSM_CONTAINER_IMAGES: 'x', NSM_SOCKETS: 'CSI', NSM_NATIVE_SIDECARS: 'false', NSM_DRAIN: '5s' }
  t.match(webhookConfig.parse(env), { sockets: 'csi', nativeSidecars: 'false', drainMs: 5_000 })
  t.throws(() => webhookConfig.parse({ ...env, NSM_NAMESPACES_FROM: 'etcd', NSM_SOCKETS: 'tcp' }), {
    message:
      'config: NSM_NAMESPACES_FROM must be one of api, file, none, not "etcd"; NSM_SOCKETS must be one of auto, csi, hostpath, not "tcp"',
  })
})

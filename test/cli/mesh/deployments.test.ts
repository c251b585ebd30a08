import { plan, podOf, randomSuffix, templateHash, type OwnedPod } from '@nsm/cli/mesh/deployments.js'
import type { Deployment } from '@nsm/cli/manifest/objects.js'
import t from 'tap'

const pod = (key: string, more: Partial<OwnedPod> = {}): OwnedPod => ({
  key,
  hash: 'h',
  ready: true,
  leaving: false,
  ...more,
})

t.test('what is missing is made, what is too much goes', async (t) => {
  t.strictSame(plan(2, 'h', []), { create: 2, remove: [] })
  t.strictSame(plan(2, 'h', [pod('a'), pod('b')]), { create: 0, remove: [] })
  t.strictSame(
    plan(1, 'h', [pod('a'), pod('b', { ready: false })]),
    { create: 0, remove: ['b'] },
    'unready first',
  )
  t.strictSame(plan(0, 'h', [pod('a')]), { create: 0, remove: ['a'] })
  t.strictSame(plan(1, 'h', [pod('a', { leaving: true })]), { create: 1, remove: [] })
})

t.test('pods of an earlier template stay until the new ones are ready', async (t) => {
  const old = pod('old', { hash: 'before' })
  t.strictSame(plan(1, 'h', [old]), { create: 1, remove: [] })
  t.strictSame(plan(1, 'h', [old, pod('new', { ready: false })]), { create: 0, remove: [] })
  t.strictSame(plan(1, 'h', [old, pod('new')]), { create: 0, remove: ['old'] })
})

const deployment = (command: string): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'd', namespace: 'n' },
  spec: {
    selector: { matchLabels: { app: 'x' } },
    template: {
      metadata: { labels: { app: 'x' }, annotations: { a: 'b' } },
      spec: { containers: [{ name: 'c', command: [command] }] },
    },
  },
})

t.test('a template has one hash, whatever the order of its fields', async (t) => {
  const { spec } = deployment('a')
  const turned = {
    ...deployment('a'),
    spec: {
      ...spec,
      template: { spec: spec.template.spec, metadata: { annotations: { a: 'b' }, labels: { app: 'x' } } },
    },
  }
  t.equal(templateHash(turned), templateHash(deployment('a')))
  t.not(templateHash(deployment('b')), templateHash(deployment('a')))
  t.match(templateHash(deployment('a')), /^[a-z0-9]{10}$/)
  t.match(randomSuffix(), /^[a-z0-9]{5}$/)
})

t.test('its pods carry the template and the hash', async (t) => {
  t.match(podOf(deployment('a'), 'hash'), {
    metadata: {
      generateName: 'd-hash-',
      namespace: 'n',
      labels: { app: 'x', 'pod-template-hash': 'hash' },
      annotations: { a: 'b' },
    },
    spec: { containers: [{ name: 'c' }] },
  })
})

import { environmentOf, expand, type PodFacts } from '@nsm/cli/manifest/env.js'
import { programOf } from '@nsm/cli/manifest/images.js'
import t from 'tap'

const facts: PodFacts = {
  name: 'client-1',
  namespace: 'demo',
  uid: 'u',
  labels: { app: 'x' },
  annotations: {},
  nodeName: 'node-1',
  serviceAccountName: 'default',
  podIp: '10.244.1.5',
  hostIp: '10.99.0.11',
}

t.test('references reach variables that come before, in Kubernetes order', async (t) => {
  const from = (name: string, fieldPath: string): object => ({ name, valueFrom: { fieldRef: { fieldPath } } })
  const env = [
    { name: 'LATE', value: '$(POD)' },
    from('POD', 'metadata.name'),
    { name: 'NAME', value: '$(POD)-$(NONE)-$$(POD)' },
    from('APP', "metadata.labels['app']"),
    from('NO_LABEL', "metadata.labels['b']"),
    from('IP', 'status.podIP'),
    from('NODE', 'spec.nodeName'),
    { name: 'EMPTY' },
  ]
  t.strictSame(environmentOf({ name: 'c', env: env as [] }, facts), {
    LATE: '$(POD)',
    POD: 'client-1',
    NAME: 'client-1-$(NONE)-$(POD)',
    APP: 'x',
    NO_LABEL: '',
    IP: '10.244.1.5',
    NODE: 'node-1',
    EMPTY: '',
  })
})

t.test('names of the object prototype are no variables', async (t) => {
  t.equal(expand('$(toString) $(a', {}), '$(toString) $(a')
})

t.test('images of ours are known by their base name alone', async (t) => {
  t.equal(programOf('localhost:5000/a/cmd-nse-icmp-responder:v1.2'), 'icmp-responder')
  t.equal(programOf('sidecar@sha256:aa'), 'sidecar')
  t.equal(programOf('nginx'), undefined)
  t.equal(programOf(''), undefined)
})

import { canI, lacksRights, rightsLine } from '@nsm/cli/cluster/access.js'
import t from 'tap'

t.test('the line that shows a missing right', async (t) => {
  const lines = [
    canI('list', '/api/v1/pods?limit=500'),
    canI('list', '/api/v1/namespaces/demo/pods'),
    canI('get', '/api/v1/namespaces/demo/pods/a'),
    canI('get', '/api/v1/namespaces/demo/pods/a:9080/proxy/status'),
    canI('get', '/api/v1/namespaces/demo'),
    canI('list', '/api/v1/nodes'),
    canI('list', '/apis/apps/v1/deployments'),
    canI('get', '/apis/apps/v1/namespaces/demo/deployments/d'),
    canI('get', '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/w'),
    canI('get', '/version'),
  ]
  t.strictSame(
    lines.map((line) => line.replace('kubectl auth can-i ', '')),
    [
      'list pods -A',
      'list pods -n demo',
      'get pods/a -n demo',
      'get pods --subresource=proxy -n demo',
      'get namespaces/demo',
      'list nodes',
      'list deployments.apps -A',
      'get deployments.apps/d -n demo',
      'get mutatingwebhookconfigurations.admissionregistration.k8s.io/w',
      'get /version',
    ],
  )
})

t.test('missing rights are told from what a policy forbids', async (t) => {
  const rights =
    'pods is forbidden: User "ann" cannot list resource "pods" in API group "" at the cluster scope (Forbidden)'
  t.ok(lacksRights(rights))
  t.ok(lacksRights('Unauthorized (Unauthorized)'))
  t.notOk(
    lacksRights('pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'),
  )
  t.notOk(lacksRights('pods "a" is forbidden: exceeded quota: compute, requested: pods=1'))
  t.equal(rightsLine(`${rights}; see \`kubectl auth can-i list pods -A\``), 'kubectl auth can-i list pods -A')
  t.equal(rightsLine('connect ECONNREFUSED; see `something else`'), undefined)
})

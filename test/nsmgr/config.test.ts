import { managerConfig } from '@nsm/nsmgr/config.js'
import { clientPolicyMasks, registryPolicies, serverPolicyMasks } from '@nsm/sdk/registry/policies.js'
import t from 'tap'

const env = { SPIFFE_ENDPOINT_SOCKET: 'unix:///run/spire/sockets/agent.sock' }

t.test('defaults of the contract', (t) => {
  t.match(managerConfig.parse(env), {
    name: 'nmgr',
    listenOn: ['unix:///var/lib/networkservicemesh/nsm.io.sock'],
    registryUrl: 'tcp://localhost:5001',
    dialTimeoutMs: 750,
    forwarderService: 'forwarder',
    serverPolicies: serverPolicyMasks,
    sharedSocketFolders: [],
    observers: [],
  })
  t.end()
})

t.test('policies are chosen by masks; none at all is a choice, too', (t) => {
  const masks = (text: string): readonly string[] =>
    managerConfig.parse({ ...env, NSM_REGISTRY_SERVER_POLICIES: text }).serverPolicies
  t.same(masks('etc/nsm/opa/common/.*.rego, etc/nsm/opa/server/.*.rego'), [
    'etc/nsm/opa/common/.*.rego',
    'etc/nsm/opa/server/.*.rego',
  ])
  t.equal(registryPolicies(masks('')).length, 0)
  t.throws(() => masks('etc/(.*'), { message: /NSM_REGISTRY_SERVER_POLICIES must be regular expressions/ })
  const warned = managerConfig.warnings({
    NSM_REGISTRY_SERVER_POLICIES: serverPolicyMasks.join(),
    NSM_REGISTRY_CLIENT_POLICIES: clientPolicyMasks.join(),
  })
  t.same(
    warned.map((text) => text.split(' ', 1)[0]),
    ['NSM_REGISTRY_CLIENT_POLICIES'],
    'the manager is no client with rules of its own',
  )
  t.end()
})

t.test('shared folders are whole absolute paths', (t) => {
  const folders = (text: string): readonly string[] =>
    managerConfig.parse({ ...env, NSM_SHARED_SOCKET_FOLDERS: text }).sharedSocketFolders
  t.same(folders('/var/lib/networkservicemesh,/run/nse'), ['/var/lib/networkservicemesh', '/run/nse'])
  for (const wrong of ['/', 'run/nse', '/run/../etc', '/run//nse', '/run,'])
    t.throws(() => folders(wrong), { message: /NSM_SHARED_SOCKET_FOLDERS must be absolute paths/ }, wrong)
  t.end()
})

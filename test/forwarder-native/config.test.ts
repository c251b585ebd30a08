import { forwarderConfig } from '@nsm/forwarder-native/config.js'
import t from 'tap'

const required = { SPIFFE_ENDPOINT_SOCKET: 'unix:///run/spire/sockets/agent.sock' }

t.test('the defaults are those of the contract', (t) => {
  t.match(forwarderConfig.parse(required), {
    name: 'forwarder',
    labels: { p2p: 'true' },
    serviceName: 'forwarder',
    connectTo: 'unix:///connect.to.socket',
    listenOn: 'unix:///listen.on.socket',
    dialTimeoutMs: 750,
    mechanismPriority: [],
    maxTokenLifetimeMs: 600_000,
  })
  t.end()
})

t.test('what is set is read', (t) => {
  const env = {
    ...required,
    NSM_NAME: 'f',
    NSM_LABELS: 'p2p:true,a:b',
    NSM_MECHANISM_PRIORITY: 'kernel,vxlan',
  }
  t.match(forwarderConfig.parse(env), {
    name: 'f',
    labels: { a: 'b' },
    mechanismPriority: ['kernel', 'vxlan'],
  })
  t.throws(() => forwarderConfig.parse({ ...required, NSM_DIAL_TIMEOUT: 'soon' }), {
    code: 'INVALID_ARGUMENT',
    message: /NSM_DIAL_TIMEOUT/,
  })
  t.throws(() => forwarderConfig.parse({}), { message: /SPIFFE_ENDPOINT_SOCKET is required/ })
  t.end()
})

t.test("other forwarders' variables are answered by a warning", (t) => {
  const warnings = forwarderConfig.warnings({
    NSM_TUNNEL_IP: '10.0.0.1',
    NSM_VPP_INIT: 'NONE',
    NSM_NAMEE: 'x',
  })
  t.match(warnings, [/NSM_TUNNEL_IP has no effect/, /NSM_VPP_INIT/, /did you mean NSM_NAME/])
  t.end()
})

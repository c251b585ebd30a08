import { endpointTarget } from '@nsm/spiffe/endpoint-address.js'
import t from 'tap'

t.test('good addresses become gRPC targets', (t) => {
  t.equal(endpointTarget('unix:///run/spire/sockets/agent.sock'), 'unix:/run/spire/sockets/agent.sock')
  t.equal(endpointTarget('unix:/tmp/a'), 'unix:/tmp/a', 'the same URI without its empty authority')
  t.equal(endpointTarget('tcp://127.0.0.1:8081'), 'ipv4:127.0.0.1:8081')
  t.equal(endpointTarget('tcp://[::1]:8081'), 'ipv6:[::1]:8081')
  t.end()
})

t.test('each broken rule has a message of its own', (t) => {
  const bad: Record<string, RegExp> = {
    '': /is empty/,
    '/run/agent.sock': /no URI with a scheme/,
    'http://1.2.3.4:80': /has the scheme http,/,
    'UNIX:///a': /has the scheme UNIX,/,
    'unix:a': /unix must not be opaque/,
    'unix:opaque/a': /unix must not be opaque/,
    'unix://host/a': /unix must not have an authority/,
    'unix://me@/a': /unix must not have user info/,
    'unix://': /unix must have a path/,
    'unix:///': /unix must have a path/,
    'unix:///a?b=c': /unix must not have a query/,
    'unix:///a#b': /unix must not have a fragment/,
    'unix:///a%20b': /plain path/,
    'tcp:1.2.3.4:80': /tcp must not be opaque/,
    'tcp:///a': /tcp must have an IP address/,
    'tcp://me@1.2.3.4:80': /tcp must not have user info/,
    'tcp://1.2.3.4:80/': /tcp must not have a path/,
    'tcp://1.2.3.4:80/a': /tcp must not have a path/,
    'tcp://1.2.3.4:80?a': /tcp must not have a query/,
    'tcp://1.2.3.4:80#a': /tcp must not have a fragment/,
    'tcp://localhost:80': /not a host name/,
    'tcp://::1:80': /not a host name/,
    'tcp://[1.2.3.4]:80': /not a host name/,
    'tcp://[::1': /not a host name/,
    'tcp://1.2.3.4': /must have a port/,
    'tcp://1.2.3.4:0': /must have a port/,
    'tcp://1.2.3.4:65536': /must have a port/,
  }
  for (const [address, message] of Object.entries(bad)) {
    t.throws(() => endpointTarget(address), { code: 'INVALID_ARGUMENT', message }, address)
  }
  t.end()
})

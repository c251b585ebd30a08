import t, { type Test } from 'tap'
import { endpoint, image, install, installedMesh, ping, pod, testNamespace } from './installed-mesh.ts'

const cluster = await installedMesh()
const [node] = cluster.nodes

for (const level of ['restricted', 'baseline', 'privileged'])
  t.test(`Pod Security level ${level}: the pod runs, names included`, async (t) => {
    const namespace = `level-${level}`
    const labels = {
      'pod-security.kubernetes.io/enforce': level,
      'pod-security.kubernetes.io/enforce-version': 'latest',
    }
    await testNamespace(t, cluster, namespace, { labels })
    await connects(t, namespace, node.name)
  })

t.test('what no label demands: every namespace gets what level restricted takes', async (t) => {
  t.teardown(async () => install(cluster))
  await install(cluster, 'sidecar.podSecurity=restricted')
  const namespace = 'level-of-none'
  await testNamespace(t, cluster, namespace)
  await connects(t, namespace, node.name)
  // An API server that is to enforce a level warns of each pod that would not meet it.
  const enforce = ['label', 'namespace', namespace, 'pod-security.kubernetes.io/enforce=restricted']
  await cluster.kubectl([...enforce, '--dry-run=server', '--warnings-as-errors'])
})

/** An endpoint that serves names, a client, packets and names between them. */
async function connects(t: Test, namespace: string, onNode: string): Promise<void> {
  const service = `names-${namespace}`
  // Serves names of its own: a resolver in the endpoint's pod answers for them.
  const resolver = {
    ...(pod({ namespace, name: 'x' }) as { spec: { containers: object[] } }).spec.containers[0],
    name: 'resolver',
    image,
    command: ['/nsm/node', '-e', answering('db.mesh.test', '192.0.2.7')],
  }
  const dns = JSON.stringify([{ dns_server_ips: ['172.21.0.0'], search_domains: ['mesh.test'] }])
  await cluster.apply(
    endpoint({
      ...{ namespace, service, node: onNode, cidr: '172.21.0.0/30' },
      containers: [resolver],
      env: { NSM_DNS_CONFIGS: dns },
      spec: { securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] } },
    }),
  )
  await cluster.apply([
    pod({ namespace, name: 'client', services: `kernel://${service}/nsm-1`, node: onNode }),
  ])
  await cluster.wait(['pod', 'client', '-n', namespace], 'condition=Ready')
  t.match(await ping(cluster, { namespace, name: 'client' }), /3 of 3 answered/)
  const lookUp = async (name: string): Promise<string> =>
    cluster.exec({ namespace, name: 'client', container: 'app' }, ['/nsm/node', '-e', looking(name)])
  t.equal(await lookUp('db.mesh.test'), '192.0.2.7', 'a name of the service')
  t.equal(await lookUp('db'), '192.0.2.7', 'a short one, by its search domain')
  t.equal(await lookUp('kubernetes.default.svc.cluster.local'), await clusterIp(), 'a name of the cluster')
}

async function clusterIp(): Promise<string> {
  return cluster.kubectl([
    'get',
    'service',
    'kubernetes',
    '-n',
    'default',
    '-o',
    'jsonpath={.spec.clusterIP}',
  ])
}

/** Asks the way applications do, and writes the address; the pod's resolver may still be on its way to its first answer. */
function looking(name: string): string {
  return `const { lookup } = require('node:dns')
const end = Date.now() + 30_000
const ask = () => lookup('${name}', 4, (err, address) => {
  if (err && Date.now() < end) setTimeout(ask, 200)
  else process.stdout.write(err ? String(err) : address)
})
ask()`
}

/** A resolver, on UDP, of one A record; other types of that name are empty, other names do not exist. */
function answering(name: string, address: string): string {
  return `const socket = require('node:dgram').createSocket('udp4')
const wanted = Buffer.from(${JSON.stringify(name)}.split('.').map((label) => String.fromCharCode(label.length) + label).join('') + '\\0', 'latin1')
socket.on('message', (query, peer) => {
  const end = 12 + query.subarray(12).indexOf(0) + 1
  const isKnown = query.subarray(12, end).toString('latin1').toLowerCase() === wanted.toString('latin1')
  const isA = query.readUInt16BE(end) === 1
  const header = Buffer.from(query.subarray(0, 12))
  header.writeUInt16BE(isKnown ? 0x8580 : 0x8583, 2)
  header.writeUInt16BE(1, 4); header.writeUInt16BE(isKnown && isA ? 1 : 0, 6); header.writeUInt16BE(0, 8); header.writeUInt16BE(0, 10)
  const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, ${address.split('.').join(', ')}])
  socket.send(Buffer.concat([header, query.subarray(12, end + 4), ...(isKnown && isA ? [answer] : [])]), peer.port, peer.address)
})
socket.bind(53)
process.once('SIGTERM', () => process.exit())`
}

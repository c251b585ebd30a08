import t from 'tap'
import { buildCoreDns } from '../kit/coredns.ts'
import { localMesh, noLocalMesh, podsOf, waitFor, type LocalMesh } from '../kit/local-mesh.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

t.setTimeout(400_000)
const noMesh = noLocalMesh()
const coredns = noMesh === undefined ? await buildCoreDns(t) : { missing: noMesh }
const skip = 'missing' in coredns ? coredns.missing : undefined
const binary = 'binary' in coredns ? coredns.binary : ''

const server = '172.16.1.100'
const domain = 'my.coredns.service'
const zone = `${domain}:53 {
  hosts {
    172.16.1.100 ${domain}
    172.16.1.7 db.${domain}
    2001:db8::6 six.${domain}
  }
}`

/** An endpoint with a real DNS server beside it, which its clients are told of. */
function dnsEndpoint(inNamespace: string, service = 'names', network = '172.16.1'): object {
  const address = `${network}.100`
  const configs = [{ dns_server_ips: [address], search_domains: [domain] }]
  const pod = endpoint(inNamespace, service, {
    NSM_SERVICE_NAMES: service,
    NSM_CIDR_PREFIX: `${address}/31`,
    NSM_DNS_CONFIGS: JSON.stringify(configs),
  }) as { spec: { containers: object[] } }
  const line = `cat > /tmp/Corefile <<'END'\n${zone}\nEND\nexec ${binary} -conf /tmp/Corefile`
  pod.spec.containers.push({ name: 'coredns', command: ['sh', '-c', line] })
  return pod
}

interface Resolved {
  readonly name: string
  readonly rcode: string
  readonly answeredBy: string
  readonly records: readonly { readonly data: string }[]
}

/** `pod` as namespace and name. */
async function resolve(
  mesh: LocalMesh,
  pod: readonly [string, string],
  name: string,
  type = 'A',
): Promise<Resolved> {
  const { stdout, stderr } = await mesh.nsm(['resolve', '-n', pod[0], '-o', 'json', pod[1], name, type])
  if (stdout === '') throw new Error(stderr)
  return JSON.parse(stdout) as Resolved
}

/** Asks until there is an answer: its first record. */
async function resolved(mesh: LocalMesh, pod: readonly [string, string], name: string): Promise<string> {
  return waitFor(`an answer for ${name}`, async () => {
    try {
      const { records, rcode } = await resolve(mesh, pod, name)
      return records[0]?.data ?? new Error(rcode)
    } catch (err) {
      return err as Error
    }
  })
}

const conf = 'cat /etc/resolv.conf'
const asked = 'kernel://names/nsm-1'

t.test(
  'names of a service beside the cluster’s',
  { ...(skip === undefined ? {} : { skip }), timeout: 300_000 },
  async (t) => {
    const mesh = await localMesh(t)
    const restricted = namespace('strict', { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } })
    await mesh.apply(
      yamlOf(
        namespace('dns'),
        namespace('more'),
        restricted,
        dnsEndpoint('dns'),
        dnsEndpoint('more', 'others', '172.16.2'),
        client('dns', 'plain'),
      ),
    )
    await mesh.ready('dns', 2)
    await mesh.ready('more', 1)
    const before = await mesh.inPod('dns', 'plain', conf)
    await mesh.apply(yamlOf(client('dns', 'nsc', asked), client('strict', 'nsc', 'kernel://others/nsm-1')))
    await mesh.ready('dns', 3)
    await mesh.ready('strict', 1)

    t.test('service name, cluster name and short name resolve in one pod', async (t) => {
      t.match(await resolve(mesh, ['dns', 'nsc'], domain), {
        records: [{ data: server }],
        answeredBy: server,
      })
      t.match(await resolve(mesh, ['dns', 'nsc'], 'db'), {
        name: `db.${domain}.`,
        records: [{ data: '172.16.1.7' }],
      })
      t.match(await resolve(mesh, ['dns', 'nsc'], 'kubernetes.default'), {
        name: 'kubernetes.default.svc.cluster.local.',
        records: [{ data: '10.199.0.1' }],
        answeredBy: '10.199.0.1',
      })
      t.match(await resolve(mesh, ['dns', 'nsc'], 'six', 'AAAA'), {
        records: [{ data: '2001:db8::6' }],
      })
      t.match(await mesh.inPod('dns', 'nsc', `ping -c 1 -W 2 ${domain}`), ' 0% packet loss')
      t.match(await mesh.inPod('dns', 'nsc', 'getent hosts db'), /^172\.16\.1\.7 +db\.my\.coredns\.service/)
      t.match(await mesh.inPod('dns', 'nsc', 'getent hosts plain'), /^10\.244\.0\.\d+ +plain\.dns\.svc/)
    })

    t.test('in a pod without the service nothing changed', async (t) => {
      t.equal(await mesh.inPod('dns', 'plain', conf), before)
      t.match(await resolve(mesh, ['dns', 'plain'], domain), { rcode: 'NXDOMAIN', records: [] })
    })

    t.test('where Pod Security is restricted the same resolves, and nothing is written', async (t) => {
      const written = await mesh.inPod('strict', 'nsc', conf)
      t.match(
        written,
        /^nameserver 127\.0\.0\.1\nsearch strict\.svc\.cluster\.local svc\.cluster\.local cluster\.local\noptions ndots:5$/,
      )
      t.match(await mesh.inPod('strict', 'nsc', 'getent hosts db'), /^172\.16\.1\.7 /)
      t.match(await mesh.inPod('strict', 'nsc', 'getent hosts kubernetes.default'), /^10\.199\.0\.1 /)
      t.match(await resolve(mesh, ['strict', 'nsc'], domain), {
        records: [{ data: server }],
      })
      t.equal(await mesh.inPod('strict', 'nsc', conf), written)
    })

    t.test('status says who knows what', async (t) => {
      const { stdout } = await mesh.nsm(['status', '-n', 'dns', 'nsc'])
      t.match(stdout, /Names \(embedded: names of services resolve\):/)
      t.match(stdout, /nsc-\S+ +172\.16\.1\.100 +my\.coredns\.service +\S/)
      const json = await mesh.nsm(['status', '-n', 'dns', '-o', 'json', 'nsc'])
      const [pod] = JSON.parse(json.stdout) as {
        status: { dns: { servers: { address: string; won: number }[] } }
      }[]
      t.ok(pod?.status.dns.servers.some(({ address, won }) => address === server && won > 0))
    })

    t.test('a sidecar that is killed comes back, and so do the names', async (t) => {
      const restarts = async (): Promise<number> => {
        const pod = (await podsOf(mesh, 'dns')).find(({ name }) => name === 'nsc')
        return pod?.containers.find(({ name }) => name === 'sidecar')?.restarts ?? 0
      }
      const earlier = await restarts()
      await mesh.nsm([
        'exec',
        '-n',
        'dns',
        '-c',
        'sidecar',
        'nsc',
        '--',
        'sh',
        '-c',
        'kill -9 $(pgrep -f sidecar.cjs)',
      ])
      await waitFor('the restart', async () => ((await restarts()) > earlier ? true : new Error('not yet')))
      t.equal(await resolved(mesh, ['dns', 'nsc'], 'db'), '172.16.1.7')
      t.equal(
        (await mesh.inPod('dns', 'nsc', conf)).match(/^search .*$/m)?.[0].split(domain).length,
        2,
        'once',
      )
    })

    t.test('a pod that is made anew has the names again', async (t) => {
      await mesh.nsm(['delete', 'pod', '-n', 'dns', 'nsc'])
      await mesh.apply(yamlOf(client('dns', 'nsc', asked)))
      await mesh.ready('dns', 3)
      t.equal(await resolved(mesh, ['dns', 'nsc'], 'db'), '172.16.1.7')
      t.match(await mesh.inPod('dns', 'nsc', 'getent hosts kubernetes.default'), /^10\.199\.0\.1 /)
    })

    t.test('when the service leaves, resolv.conf is as it was', async (t) => {
      await mesh.nsm(['delete', 'pod', '-n', 'dns', 'names'])
      const after = await waitFor('the original file', async () => {
        const text = await mesh.inPod('dns', 'nsc', conf)
        return text === before ? text : new Error(text)
      })
      t.equal(after, before)
      t.match(await mesh.inPod('dns', 'nsc', 'getent hosts kubernetes.default'), /^10\.199\.0\.1 /)
    })

    t.test('when it comes back, so do its names', async (t) => {
      await mesh.apply(yamlOf(dnsEndpoint('dns')))
      t.equal(await resolved(mesh, ['dns', 'nsc'], 'db'), '172.16.1.7')
    })
  },
)

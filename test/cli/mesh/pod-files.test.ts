import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PodSpec } from '@nsm/cli/manifest/objects.js'
import { writePodFiles } from '@nsm/cli/mesh/pod-files.js'
import type { Bind } from '@nsm/cli/mesh/runner.js'
import t, { type Test } from 'tap'

async function written(
  t: Test,
  more: Partial<PodSpec>,
): Promise<{ binds: readonly Bind[]; etc: (name: string) => string }> {
  const folder = mkdtempSync(join(tmpdir(), 'nsm-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const spec: PodSpec = { containers: [{ name: 'c', command: ['sh'] }], ...more }
  const options = {
    spec,
    namespace: 'demo',
    hostname: 'a',
    podIp: '10.244.0.5',
    nameserver: '10.244.0.1',
    folder,
    node: { workloadApi: '/w', manager: '/m' },
  }
  const bindsOf = await writePodFiles(options)
  const [container] = spec.containers
  return {
    binds: container === undefined ? [] : bindsOf(container),
    etc: (name) => readFileSync(join(folder, 'etc', name), 'utf8'),
  }
}

t.test('resolv.conf follows the DNS policy', async (t) => {
  const search = 'search demo.svc.cluster.local svc.cluster.local cluster.local'
  const dnsConfig = {
    nameservers: ['1.2.3.4'],
    searches: ['x.y'],
    options: [{ name: 'ndots', value: '2' }, { name: 'edns0' }],
  }
  const cases: readonly (readonly [Partial<PodSpec>, string])[] = [
    [{}, `nameserver 10.244.0.1\n${search}\noptions ndots:5\n`],
    [{ dnsPolicy: 'None', dnsConfig }, 'nameserver 1.2.3.4\nsearch x.y\noptions ndots:2 edns0\n'],
    [
      { dnsConfig },
      `nameserver 10.244.0.1\nnameserver 1.2.3.4\n${search} x.y\noptions ndots:5 ndots:2 edns0\n`,
    ],
    [{ dnsPolicy: 'Default' }, 'nameserver 10.244.0.1\n'],
  ]
  for (const [spec, text] of cases) t.equal((await written(t, spec)).etc('resolv.conf'), text)
})

t.test('hosts knows the pod and its aliases', async (t) => {
  const { etc } = await written(t, { hostAliases: [{ ip: '9.9.9.9', hostnames: ['b', 'c'] }] })
  t.match(etc('hosts'), /^127\.0\.0\.1\tlocalhost\n/)
  t.match(etc('hosts'), /\n10\.244\.0\.5\ta\n9\.9\.9\.9\tb\tc\n$/)
  t.equal(etc('hostname'), 'a\n')
})

t.test('volumes become what the node has of their kind', async (t) => {
  const { binds } = await written(t, {
    containers: [
      {
        name: 'c',
        volumeMounts: [
          { name: 'csi', mountPath: '/run/spire/sockets' },
          { name: 'host', mountPath: '/h', readOnly: true },
          { name: 'empty', mountPath: '/e' },
        ],
      },
    ],
    volumes: [
      { name: 'csi', csi: { driver: 'csi.spiffe.io', readOnly: true } },
      { name: 'host', hostPath: { path: '/var/lib/networkservicemesh' } },
      { name: 'empty', emptyDir: {} },
      { name: 'unmounted', emptyDir: {} },
    ],
  })
  const [csi, host, empty, ...rest] = binds.slice(3)
  t.strictSame(csi, { source: '/w', target: '/run/spire/sockets', readOnly: true })
  t.strictSame(host, { source: '/m', target: '/h', readOnly: true })
  t.match(empty, { target: '/e', readOnly: false })
  t.equal(statSync(empty?.source ?? '').mode & 0o777, 0o777)
  t.equal(rest.length, 0)
})

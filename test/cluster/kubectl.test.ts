import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t, { type Test } from 'tap'
import { CommandError } from './harness/command.ts'
import { checkout } from './harness/tools.ts'
import { waitFor } from './harness/wait-for.ts'
import { endpoint, installedMesh, pod, system, testNamespace } from './installed-mesh.ts'

// Where kubectl finds its plugin.
process.env['PATH'] = `${path.join(checkout, 'build')}:${process.env['PATH'] ?? ''}`
t.setTimeout(600_000)
const cluster = await installedMesh()
const namespace = `kubectl-test-${process.pid}`
const node = cluster.nodes[0].name
const service = `kubectl-${process.pid}`

/** What `kubectl nsm` printed, and its exit code. */
interface Ran {
  readonly code: number | null
  readonly out: string
  readonly notes: string
}

async function nsm(...args: readonly string[]): Promise<Ran> {
  return nsmAs(cluster.kubeconfig, ...args)
}

async function nsmAs(kubeconfig: string, ...args: readonly string[]): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, KUBECONFIG: kubeconfig }
    execFile('kubectl-nsm', [...args], { env, maxBuffer: 1 << 26 }, (err, out, notes) => {
      if (err !== null && typeof err.code !== 'number') reject(err)
      else resolve({ code: err === null ? 0 : Number(err.code), out, notes })
    })
  })
}

interface Row {
  readonly pod: string
  readonly status?: {
    readonly connections: readonly { readonly state: string; readonly interface: string | null }[]
  }
}

async function connection(name: string): Promise<{ state: string; interface: string | null } | undefined> {
  const rows = JSON.parse((await nsm('status', '-n', namespace, '-o', 'json')).out) as Row[]
  return rows.find((row) => row.pod === name)?.status?.connections[0]
}

/** Lines of `kubectl nsm check` about this test, or about what must be in order whatever else runs here. */
async function check(): Promise<{ ok: boolean; faults: readonly string[]; titles: readonly string[] }> {
  const { ok, sections } = JSON.parse((await nsm('check', '-o', 'json')).out) as {
    ok: boolean
    sections: { title: string; findings: { level: string; text: string; hint: string }[] }[]
  }
  const own = sections.flatMap(({ title, findings }) =>
    findings
      .filter(({ level, text }) => level === 'fault' && (title !== 'Pods' || text.includes(namespace)))
      .map(({ text, hint }) => `${text} → ${hint}`),
  )
  return { ok, faults: own, titles: sections.map(({ title }) => title) }
}

t.test('an installed mesh, a client and its endpoint', { timeout: 500_000 }, async (t) => {
  await testNamespace(t, cluster, namespace, { labels: { 'networkservicemesh.io/inject': 'enabled' } })
  await cluster.apply([
    ...endpoint({ namespace, service, cidr: '172.16.77.0/30', node }),
    pod({ namespace, name: 'client', services: `kernel://${service}/nsm-1`, node }),
  ])
  await cluster.wait(['pod', 'client', '-n', namespace], 'condition=Ready')

  t.test('check finds no fault in it', async (t) => {
    const { faults, titles } = await check()
    t.strictSame(faults, [])
    t.strictSame(titles, [
      'Cluster',
      'Installation',
      'Webhook',
      'Identity',
      'Custom resources',
      'Registry',
      'Nodes',
      'Pods',
    ])
    const { out } = await nsm('check')
    t.match(out, /✓ a pod that asks for a service comes back with a sidecar/)
    t.match(out, /✓ the trust domain's newest root .* is valid for another /)
    t.notMatch(out, '\u001B', 'no colour for a pipe')
  })

  t.test('status shows the connection, and its hops', async (t) => {
    t.match(await connection('client'), { state: 'UP', interface: 'nsm-1' })
    const { out, code } = await nsm('status', 'client', '-n', namespace)
    t.equal(code, 0)
    t.match(
      out,
      new RegExp(
        `^client +${service} +UP +\\d+s +nsm-1 +172\\.16\\.77\\.1/32 +172\\.16\\.77\\.0/32 +\\S+$`,
        'm',
      ),
    )
    t.match(out, new RegExp(`spiffe://\\S+/ns/${namespace}/pod/client$`, 'm'))
    t.match(out, new RegExp(`spiffe://\\S+/ns/${system}/pod/nsmgr-\\S+$`, 'm'))
    t.match(
      (await nsm('status', '-A', '-o', 'wide')).out,
      new RegExp(`^${namespace} +client .* KERNEL .* ${node}$`, 'm'),
    )
  })

  t.test('describe shows pod, service and endpoint', async (t) => {
    const text = await waitFor('the Event', async () => {
      const { out } = await nsm('describe', 'pod', 'client', '-n', namespace)
      return out.includes('NetworkServiceConnected') && out
    })
    t.match(text, new RegExp(`^Asks for: +kernel://${service}/nsm-1$`, 'm'))
    const { out } = await nsm('describe', 'service', service, '-n', namespace)
    t.match(out, new RegExp(`^ +${namespace}/client +UP +(\\S+) +172\\.16\\.77\\.1/32$`, 'm'))
    const [, name = ''] = new RegExp(`/client +UP +(\\S+)`).exec(out) ?? []
    t.match((await nsm('describe', name, '-n', namespace)).out, new RegExp(`^ +${namespace}/client +UP`, 'm'))
  })

  t.test('logs of a sidecar, and of a part on all nodes', async (t) => {
    t.match((await nsm('logs', 'client', '-n', namespace)).out, /"msg":"all connections are up"/)
    const { out } = await nsm('logs', 'nsmgr', '--tail', '1')
    t.equal(
      new Set(out.split('\n').flatMap((line) => /^(nsmgr-\S+) +\{/.exec(line)?.[1] ?? [])).size,
      cluster.nodes.length,
    )
  })

  t.test('somebody with fewer rights sees what Kubernetes tells, and which right is missing', async (t) => {
    const user = `viewer-${process.pid}`
    t.teardown(() => cluster.kubectl(['delete', 'rolebinding,serviceaccount', '-n', namespace, user]))
    await cluster.kubectl(['create', 'serviceaccount', user, '-n', namespace])
    const binding = ['create', 'rolebinding', user, '-n', namespace, '--clusterrole=view']
    await cluster.kubectl([...binding, `--serviceaccount=${namespace}:${user}`])
    const kubeconfig = await limited(t, user)
    const { out, notes, code } = await nsmAs(kubeconfig, 'status', '-n', namespace)
    t.equal(code, 0)
    t.match(out, new RegExp(`^client +${service} +(?:UNKNOWN|UP) +- +nsm-1 `, 'm'))
    t.match(notes, `see \`kubectl auth can-i get pods --subresource=proxy -n ${namespace}\``)
    const refused = await nsmAs(kubeconfig, 'status', '-A')
    t.equal(refused.code, 1)
    t.match(refused.notes, 'see `kubectl auth can-i list pods -A`')
    const { out: checked } = await nsmAs(kubeconfig, 'check')
    t.match(
      checked,
      /! could not look at the mesh's Deployments and DaemonSets: you may not\n +→ kubectl auth can-i list /,
    )
  })

  t.test('what is wrong is named', async (t) => {
    const off = `${namespace}-off`
    await testNamespace(t, cluster, off, { labels: { 'networkservicemesh.io/inject': 'disabled' } })
    await cluster.apply([pod({ namespace: off, name: 'lost', services: `kernel://${service}` })])
    await cluster.kubectl(['delete', 'deployment', service, '-n', namespace, '--timeout=60s'])
    await waitFor('the loss', async () => (await connection('client'))?.state !== 'UP')
    const { faults, ok } = await waitFor('the faults', async () => {
      const found = await check()
      return found.faults.length >= 2 && found
    })
    t.notOk(ok)
    t.ok(
      faults.some((line) => line.startsWith(`${off}/lost asks for kernel://${service} and has no sidecar`)),
    )
    t.ok(faults.some((line) => line.includes(`kubectl nsm describe pod -n ${namespace} client`)))
    t.equal((await nsm('check')).code, 1)
  })
})

t.test('kubectl finds its plugin; what is called wrongly ends with 2', async (t) => {
  t.match(await cluster.kubectl(['nsm', '--help']), /^Usage: kubectl nsm/)
  const wrong = await cluster.kubectl(['nsm', 'statsu']).catch((err: unknown) => err)
  t.ok(wrong instanceof CommandError)
  t.match(wrong, { status: 2, stderr: /unknown command 'statsu'/ })
})

/** A kubeconfig for a service account of the namespace. */
async function limited(t: Test, user: string): Promise<string> {
  const token = (await cluster.kubectl(['create', 'token', user, '-n', namespace])).trim()
  const { clusters } = await cluster.json<{ clusters: { name: string }[] }>(['config', 'view', '--raw'])
  const context = { cluster: clusters[0]?.name, user, namespace }
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters,
    users: [{ name: user, user: { token } }],
    contexts: [{ name: user, context }],
    'current-context': user,
  }
  const folder = await mkdtemp(path.join(tmpdir(), 'nsm-kubectl-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(path.join(folder, 'config'), JSON.stringify(config))
  return path.join(folder, 'config')
}

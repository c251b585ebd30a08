import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import t from 'tap'
import { checkout } from './harness/tools.ts'
import { waitFor } from './harness/wait-for.ts'
import { installedMesh, ping, system } from './installed-mesh.ts'

const cluster = await installedMesh()

t.test('helm test connects two pods and pings', async (t) => {
  const report = await cluster.helm(['test', 'nsm', '--namespace', system, '--timeout', '3m'])
  t.match(report, /Phase:\s+Succeeded/)
})

t.test('the quickstart: two clients of one endpoint, all on one node', async (t) => {
  const folder = path.join(checkout, 'examples/kubernetes')
  const files = (await readdir(folder)).filter((file) => file.endsWith('.yaml')).sort()
  t.teardown(async () => {
    for (const file of files)
      await cluster.kubectl(['delete', '-f', path.join(folder, file), '--ignore-not-found', '--timeout=180s'])
  })
  for (const file of files) await cluster.apply(await readFile(path.join(folder, file), 'utf8'))
  for (const name of ['client-1', 'client-2'])
    await cluster.wait(['pod', name, '-n', 'demo'], 'condition=Ready')
  const nodes = await cluster.kubectl([
    ...['get', 'pods', '-n', 'demo', '-o', 'jsonpath={range .items[*]}{.spec.nodeName}{"\\n"}{end}'],
  ])
  t.equal(new Set(nodes.trim().split('\n')).size, 1, 'all on one node')
  for (const name of ['client-1', 'client-2'])
    t.match(await ping(cluster, { namespace: 'demo', name }), /3 of 3 answered/)
  const events = await waitFor('the Event on the pod', async () => {
    const found = await cluster.events('demo', 'client-1')
    return found.some(({ reason }) => reason === 'NetworkServiceConnected') ? found : undefined
  })
  t.match(events.find(({ reason }) => reason === 'NetworkServiceConnected')?.message ?? '', /db-replication/)
})

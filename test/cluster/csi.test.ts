import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { waitFor } from './harness/wait-for.ts'
import { installedMesh, pod, testNamespace } from './installed-mesh.ts'

const cluster = await installedMesh()
const { kubectl } = cluster
const drivers = ['csi.networkservicemesh.io', 'csi.spiffe.io']
const agents = ['-n', 'nsm-system', '-l', 'app.kubernetes.io/component=agent']
/** kubelet's longest pause between two attempts is two minutes. */
const longestMs = 300_000

/** A namespace that allows nothing of the node's, gone with the test. */
async function restrictedNamespace(t: Test, name: string): Promise<string> {
  await testNamespace(t, cluster, name, { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } })
  return name
}

/** A pod with both sockets. */
async function startPod(namespace: string, name: string, node?: string): Promise<void> {
  const volumeMounts = [
    { name: 'nsm', mountPath: '/var/lib/networkservicemesh' },
    { name: 'identity', mountPath: '/run/spire/sockets' },
  ]
  const volumes = volumeMounts.map((mount, n) => ({
    name: mount.name,
    csi: { driver: drivers[n], readOnly: true },
  }))
  const on = node === undefined ? {} : { node }
  await cluster.apply([pod({ namespace, name, ...on, spec: { volumes }, container: { volumeMounts } })])
}

async function ready(namespace: string, name: string): Promise<void> {
  await cluster.wait(['-n', namespace, `pod/${name}`], 'condition=Ready', longestMs)
}

async function uidOf(namespace: string, name: string): Promise<string> {
  return kubectl(['-n', namespace, 'get', 'pod', name, '-o', 'jsonpath={.metadata.uid}'])
}

/** Mounts of our volumes for pods of these UIDs, as any process of this machine sees them. */
async function mountsOf(uids: readonly string[]): Promise<readonly string[]> {
  const found = new Set<string>()
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    for (const line of (await textOf(`/proc/${pid}/mountinfo`)).split('\n')) {
      const [, , , , point = '', options = ''] = line.split(' ')
      const isOurs = point.includes('/volumes/kubernetes.io~csi/') && uids.some((uid) => point.includes(uid))
      if (isOurs) found.add(`${options} ${point}`)
    }
  }
  return [...found]
}

/** Empty when the process is gone. */
async function textOf(path: string): Promise<string> {
  return readFile(path, 'utf8').catch(() => '')
}

const scriptInPod = `
  const { writeFileSync } = require('node:fs')
  const refused = (path) => { try { writeFileSync(path, '') } catch (err) { return err.code } }
  const connects = (path) => new Promise((resolve) => {
    require('node:net').connect(path, () => resolve(true)).on('error', (err) => resolve(err.code))
  })
  const sockets = ['/var/lib/networkservicemesh/nsm.io.sock', '/run/spire/sockets/agent.sock']
  Promise.all(sockets.map(connects)).then((connected) => {
    console.log(JSON.stringify({ connected, written: sockets.map((path) => refused(path + 'x')) }))
    process.exit()
  })
`
const reached = JSON.stringify({ connected: [true, true], written: ['EROFS', 'EROFS'] })

/** What a pod can do with the sockets, as JSON. */
async function lookFrom(namespace: string, name: string): Promise<string> {
  return (await cluster.exec({ namespace, name }, ['/nsm/node', '-e', scriptInPod])).trim()
}

/** Ends the agents' processes, those of this cluster, as a crash does; kubelet starts them again. */
async function killAgents(): Promise<void> {
  const uids = (await kubectl(['get', 'pods', ...agents, '-o', 'jsonpath={.items[*].metadata.uid}'])).split(
    ' ',
  )
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const [command, groups] = [await textOf(`/proc/${pid}/cmdline`), await textOf(`/proc/${pid}/cgroup`)]
    const isOurs = uids.some((uid) => uid !== '' && groups.includes(uid))
    if (isOurs && command.includes('/nsm/agent.cjs')) process.kill(Number(pid), 'SIGKILL')
  }
}

t.test('a pod of a restricted namespace reaches both sockets, also after the agent was killed', async (t) => {
  const namespace = await restrictedNamespace(t, 'csi-sockets')
  await startPod(namespace, 'a')
  await ready(namespace, 'a')
  await waitFor('both sockets', async () => (await lookFrom(namespace, 'a')) === reached)
  const uid = await uidOf(namespace, 'a')
  const mounts = await mountsOf([uid])
  t.equal(mounts.length, 2, mounts.join(', '))
  for (const mount of mounts) t.match(mount, /^ro,nosuid,nodev,noexec/)

  await killAgents()
  await waitFor('the new Workload API', async () => (await lookFrom(namespace, 'a')) === reached, longestMs)
  await kubectl(['-n', namespace, 'delete', 'pod', 'a', `--timeout=${longestMs / 1000}s`])
  t.same(await mountsOf([uid]), [])
})

t.test('pods that go and come while the agents are away are waited for', async (t) => {
  const namespace = await restrictedNamespace(t, 'csi-away')
  const nodes = cluster.nodes.map(({ name }) => name)
  for (const node of nodes) await startPod(namespace, `old-${node}`, node)
  for (const node of nodes) await ready(namespace, `old-${node}`)
  const uids = await Promise.all(nodes.map((node) => uidOf(namespace, `old-${node}`)))
  t.equal((await mountsOf(uids)).length, 2 * nodes.length)

  const daemonSet = (await kubectl(['get', 'daemonset', ...agents, '-o', 'name'])).trim()
  const onlyOn = (where: Record<string, string> | null): Promise<string> => {
    const patch = { spec: { template: { spec: { nodeSelector: where } } } }
    return kubectl(['-n', 'nsm-system', 'patch', daemonSet, '--type=merge', '-p', JSON.stringify(patch)])
  }
  t.teardown(() => onlyOn(null))
  await onlyOn({ 'no.such/node': 'x' })
  await cluster.wait(['pod', ...agents], 'delete', longestMs)
  await kubectl(['-n', namespace, 'delete', 'pods', '--all', '--wait=false'])
  for (const node of nodes) await startPod(namespace, `new-${node}`, node)
  await waitFor('kubelet to miss the driver', async () => {
    const events = await cluster.events(namespace)
    return events.some(({ message }) => /not found in the list of registered CSI drivers/.test(message))
  })
  t.equal((await mountsOf(uids)).length, 2 * nodes.length, 'nobody has unmounted anything')

  await onlyOn(null)
  for (const node of nodes) await cluster.wait(['-n', namespace, `pod/old-${node}`], 'delete', longestMs)
  for (const node of nodes) await ready(namespace, `new-${node}`)
  t.same(await mountsOf(uids), [])
})

t.test('agents are killed again and again while pods go', async (t) => {
  const namespace = await restrictedNamespace(t, 'csi-killed')
  const names = Array.from({ length: 8 }, (_, n) => `pod-${n}`)
  for (const name of names) await startPod(namespace, name)
  for (const name of names) await ready(namespace, name)
  const uids = await Promise.all(names.map((name) => uidOf(namespace, name)))
  const gone = kubectl(['-n', namespace, 'delete', 'pods', '--all', `--timeout=${longestMs / 1000}s`])
  for (let round = 0; round < 3; round++) {
    await killAgents()
    await pause(300)
  }
  await gone
  t.same(await mountsOf(uids), [])
})

t.test('kubelet finds the drivers again when it comes back', async (t) => {
  const namespace = await restrictedNamespace(t, 'csi-kubelet')
  const [node] = cluster.nodes
  await startPod(namespace, 'old', node.name)
  await ready(namespace, 'old')
  const uids = [await uidOf(namespace, 'old')]
  await node.kubelet.kill()
  await node.kubelet.start()
  await startPod(namespace, 'new', node.name)
  await ready(namespace, 'new')
  uids.push(await uidOf(namespace, 'new'))
  t.equal(await lookFrom(namespace, 'new'), reached)
  await kubectl(['-n', namespace, 'delete', 'pods', '--all', `--timeout=${longestMs / 1000}s`])
  t.same(await mountsOf(uids), [])
})

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { connectCluster, type ClusterNode } from './harness/cluster.ts'
import { CommandError, run } from './harness/command.ts'
import { busyboxImage } from './harness/image-archive.ts'
import { layoutOfState, readState, type ClusterState } from './harness/state.ts'
import { waitFor } from './harness/wait-for.ts'

const cluster = await connectCluster()
const [one, two] = twoNodes()
const namespace = `harness-${process.pid}`
const program = fileURLToPath(new URL('./harness/main.js', import.meta.url))

function twoNodes(): [ClusterNode, ClusterNode] {
  const [first, second] = cluster.nodes
  if (second === undefined) throw new Error(`cluster ${cluster.name} has one node: two are needed`)
  return [first, second]
}

const labels = (app: string): object => ({ app })

/** A pod that serves its name on port 8080, after a sidecar of Kubernetes' own kind. */
function pod(name: string, nodeName: string, fields: object = {}): object {
  const image = { image: busyboxImage, imagePullPolicy: 'Never' }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: labels(name) },
    spec: {
      nodeName,
      terminationGracePeriodSeconds: 0,
      initContainers: [
        { name: 'sidecar', ...image, restartPolicy: 'Always', command: ['sleep', 'infinity'] },
      ],
      containers: [
        {
          name: 'main',
          ...image,
          command: ['sh', '-c', `echo started; exec nc -ll -p 8080 -e echo from ${name}`],
          ...fields,
        },
      ],
    },
  }
}

function service(name: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace },
    spec: { selector: labels(name), ports: [{ port: 80, targetPort: 8080 }] },
  }
}

async function addressOf(name: string): Promise<string> {
  return cluster.kubectl(['get', 'pod', '-n', namespace, name, '-o', 'jsonpath={.status.podIP}'])
}

async function restartsOf(name: string): Promise<string> {
  const count = 'jsonpath={.status.containerStatuses[0].restartCount}'
  return cluster.kubectl(['get', 'pod', '-n', namespace, name, '-o', count])
}

/** A shell command in a pod, again until it succeeds: kube-proxy hears of a Service a moment later. */
async function inPod(name: string, command: string): Promise<string> {
  return waitFor(`${command} in ${name}`, async (signal) =>
    cluster.exec({ namespace, name, container: 'main' }, ['sh', '-c', command], signal),
  )
}

async function failureOf(command: Promise<string>): Promise<CommandError> {
  const failure = await command.then(
    () => undefined,
    (err: unknown) => err,
  )
  if (failure instanceof CommandError) return failure
  throw new Error(`expected a command to fail: ${String(failure)}`)
}

t.before(async () => {
  await cluster.apply([{ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } }])
  // The account comes a moment after its namespace, and a pod can't be without.
  await waitFor('the service account', async () =>
    cluster.kubectl(['get', 'serviceaccount', 'default', '-n', namespace, '-o', 'name']),
  )
  await cluster.apply([pod('a', one.name), pod('b', two.name), service('a'), service('b')])
  await cluster.wait(['pod', '-n', namespace, 'a', 'b'], 'condition=Ready')
})
t.teardown(async () =>
  cluster.kubectl(['delete', 'namespace', namespace, '--ignore-not-found', '--timeout=120s']),
)

t.test('two nodes are Ready, each with an address and a range of pods of its own', async (t) => {
  const { items } = await cluster.json<{
    items: { spec: { podCIDR: string }; status: { conditions: { type: string; status: string }[] } }[]
  }>(['get', 'nodes'])
  t.equal(items.length, cluster.nodes.length)
  t.ok(items.length >= 2)
  for (const { status } of items)
    t.match(
      status.conditions.find(({ type }) => type === 'Ready'),
      { status: 'True' },
    )
  t.equal(new Set(items.map(({ spec }) => spec.podCIDR)).size, items.length)
  t.equal(new Set(cluster.nodes.map(({ address }) => address)).size, items.length)
})

t.test('pods of two nodes reach each other, by address, Service and name', async (t) => {
  t.match(await inPod('a', `ping -c 1 -W 5 ${await addressOf('b')}`), '0% packet loss')
  t.match(await inPod('a', 'nc -w 5 b 80 </dev/null'), 'from b')
  t.match(await inPod('b', `nc -w 5 a.${namespace}.svc.cluster.local 80 </dev/null`), 'from a')
  const own = await inPod('a', `nslookup a.${namespace}.svc.cluster.local`)
  const virtual = await cluster.kubectl([
    'get',
    'service',
    'a',
    '-n',
    namespace,
    '-o',
    'jsonpath={.spec.clusterIP}',
  ])
  t.match(own, virtual)
})

t.test('a pod reaches itself and the API server through their Services', async (t) => {
  const virtual = await cluster.kubectl([
    'get',
    'service',
    'a',
    '-n',
    namespace,
    '-o',
    'jsonpath={.spec.clusterIP}',
  ])
  t.match(await inPod('a', `nc -w 5 ${virtual} 80 </dev/null`), 'from a')
  await inPod('b', 'nc -w 5 kubernetes.default.svc.cluster.local 443 </dev/null')
})

t.test('exec, logs and the proxies to pods and nodes work', async (t) => {
  t.equal(await cluster.exec({ namespace, name: 'b', container: 'main' }, ['hostname']), 'b\n')
  t.equal(await cluster.kubectl(['logs', '-n', namespace, 'b']), 'started\n')
  t.equal(await cluster.kubectl(['get', '--raw', `/api/v1/nodes/${one.name}/proxy/healthz`]), 'ok')
})

t.test('Pod Security and the rights of users are enforced', async (t) => {
  const restricted = `${namespace}-restricted`
  t.teardown(async () => cluster.kubectl(['delete', 'namespace', restricted, '--wait=false']))
  const level = { 'pod-security.kubernetes.io/enforce': 'restricted' }
  await cluster.apply([
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: restricted, labels: level } },
  ])
  const manifest = JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'root', namespace: restricted },
    spec: { containers: [{ name: 'main', image: busyboxImage, securityContext: { privileged: true } }] },
  })
  const refused = await failureOf(cluster.kubectl(['create', '-f', '-'], manifest))
  t.match(refused.stderr, 'violates PodSecurity "restricted')
  const question = ['auth', 'can-i', 'create', 'mutatingwebhookconfigurations', '--as=somebody']
  t.equal((await failureOf(cluster.kubectl(question))).stdout.trim(), 'no')
})

t.test('folders of the host are of the node, not of the machine', async (t) => {
  const folder = `/var/lib/${namespace}`
  await one.run(['mkdir', folder])
  t.teardown(async () => one.run(['rmdir', folder]))
  t.equal(existsSync(folder), false)
  await t.rejects(two.run(['ls', folder]))
  t.equal((await two.run(['hostname'])).trim(), two.name)
})

t.test('pods outlive the daemons of their node', async (t) => {
  for (const daemon of [two.kubelet, two.containerd, two.kubeProxy]) await daemon.kill()
  t.equal(two.kubelet.isRunning(), false)
  t.equal(two.containerd.isRunning(), false)
  t.match(await two.run(['ping', '-c', '1', '-W', '5', await addressOf('b')]), ' 0% packet loss')
  await two.containerd.start()
  await two.kubelet.start()
  t.equal(two.kubeProxy.isRunning(), true, 'a node that joins has its kube-proxy')
  // A kubelet that has just started hears of its pods a moment later.
  const name = await waitFor('kubelet to know pod b', async () =>
    cluster.exec({ namespace, name: 'b', container: 'main' }, ['hostname']),
  )
  t.equal(name, 'b\n')
  t.equal(await restartsOf('b'), '0')
})

t.test('a node that lost its power has its pods again', async (t) => {
  await two.powerOff()
  t.equal(two.isOn(), false)
  t.equal(two.kubelet.isRunning(), false)
  await two.powerOn()
  const a = { namespace, name: 'a', container: 'main' }
  await waitFor('pod b to answer', async () => {
    const said = await cluster.exec(a, ['sh', '-c', `nc -w 2 ${await addressOf('b')} 8080 </dev/null`])
    return said.includes('from b')
  })
  t.equal(await restartsOf('b'), '1')
})

t.test('pods run while the API server is away', async (t) => {
  const address = await addressOf('b')
  await cluster.apiServer.stop()
  t.teardown(async () => cluster.apiServer.start())
  t.equal(cluster.apiServer.isRunning(), false)
  await t.rejects(cluster.kubectl(['get', 'nodes', '--request-timeout=5s']))
  t.match(await one.run(['ping', '-c', '1', '-W', '5', address]), ' 0% packet loss')
  await cluster.apiServer.start()
  t.match(await cluster.kubectl(['get', 'nodes', '-o', 'name']), /node/)
})

t.test('a harness that is killed leaves nothing that `down` or the next `up` does not remove', async (t) => {
  const name = `killed-${process.pid}`
  t.teardown(async () => harness(t, name, 'down'))
  await killed(name, 'logs/kube-apiserver.log')
  t.not(tracesOf(name).length, 0, 'there is something to remove')
  t.equal(await harness(t, name, 'down'), 0)
  await leavesNothing(t, name)

  await killed(name, `logs/${name}-1-kubelet.log`)
  t.equal(await harness(t, name, 'up', '--nodes', '1'), 0, 'it comes up after that')
  t.equal(await harness(t, name, 'down'), 0)
  await leavesNothing(t, name)
})

t.test('a `down` that is killed is finished by the next `up`, which takes nothing of before', async (t) => {
  const name = `halved-${process.pid}`
  t.teardown(async () => harness(t, name, 'down'))
  t.equal(await harness(t, name, 'api', 'up'), 0)
  await cluster.kubectl([...access(name), 'create', 'namespace', 'before'])
  const release = await hold(t, name)
  const child = spawn(process.execPath, [program, '--name', name, 'down'], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  await waitFor('the removal to begin', () => readState(name)?.ready !== true)
  child.kill('SIGKILL')
  await ended
  t.match(readState(name), { name }, 'it is still known')
  await release()
  t.equal(await harness(t, name, 'api', 'up'), 0)
  const namespaces = await cluster.kubectl([...access(name), 'get', 'namespaces', '-o', 'name'])
  t.notMatch(namespaces, 'before')
  t.equal(await harness(t, name, 'down'), 0)
  await leavesNothing(t, name)
})

t.test('an API server alone is removed by the next `up` when its process has ended', async (t) => {
  const name = `orphan-${process.pid}`
  const next = `next-${process.pid}`
  t.teardown(async () => Promise.all([harness(t, name, 'down'), harness(t, next, 'down')]))
  const child = spawn('sleep', ['600'], { stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  t.equal(await harness(t, name, 'api', 'up', '--owner', String(child.pid)), 0)
  t.equal(await cluster.kubectl([...access(name), 'get', '--raw', '/readyz']), 'ok')
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended

  const release = await hold(t, name)
  t.equal(await harness(t, next, 'api', 'up'), 0, 'one that cannot be removed is in nobody else’s way')
  t.match(readState(name), { name, ready: false }, 'and is still known')
  await release()
  t.equal(await harness(t, next, 'down'), 0)
  t.equal(await harness(t, next, 'api', 'up'), 0)
  await leavesNothing(t, name)
})

/** Arguments with which kubectl asks another cluster. */
function access(name: string): string[] {
  return ['--kubeconfig', layoutOfState(readState(name) as ClusterState).kubeconfig]
}

/** Makes the cluster's files impossible to remove, until the answer is called. */
async function hold(t: Test, name: string): Promise<() => Promise<void>> {
  const folder = path.join('/var/tmp/nsm-cluster', name, 'etcd', 'held')
  mkdirSync(folder)
  await run(['mount', '-t', 'tmpfs', 'held', folder])
  let isHeld = true
  const release = async (): Promise<void> => {
    if (isHeld) await run(['umount', folder])
    isHeld = false
  }
  t.teardown(release)
  return release
}

/** Brings a cluster up and kills the program that does it as soon as the file is there. */
async function killed(name: string, file: string): Promise<void> {
  const child = spawn(process.execPath, [program, '--name', name, 'up', '--nodes', '1'], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  await waitFor(file, () => existsSync(path.join('/var/tmp/nsm-cluster', name, file)))
  child.kill('SIGKILL')
  await ended
}

async function harness(t: Test, name: string, ...args: string[]): Promise<number> {
  const child = spawn(process.execPath, [program, '--name', name, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  child.stderr.on('data', (text: Buffer) => t.comment(text.toString().trim()))
  const [status] = (await once(child, 'exit')) as [number]
  return status
}

/** A process that has ended is seen until its parent, by now the machine's first process, has heard of it. */
async function leavesNothing(t: Test, name: string): Promise<void> {
  await waitFor('the end of the last process', () => tracesOf(name).length === 0, 20_000).catch(
    () => undefined,
  )
  t.same(tracesOf(name), [])
}

/** Processes, mounts, network namespaces, control groups and files that have the cluster's name. */
function tracesOf(name: string): string[] {
  const read = (file: string): string => {
    try {
      return readFileSync(file, 'utf8')
    } catch {
      return '' // The process has ended.
    }
  }
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
  const groups = read('/proc/self/mounts')
    .split('\n')
    .filter((line) => line.startsWith('cgroup'))
    .map((line) => `${line.split(' ')[1]}/nsm-cluster/${name}`)
  return [
    ...pids.filter((pid) => `${read(`/proc/${pid}/cmdline`)}${read(`/proc/${pid}/cgroup`)}`.includes(name)),
    ...pids.filter((pid) => read(`/proc/${pid}/mountinfo`).includes(name)).map((pid) => `mounts of ${pid}`),
    ...(existsSync('/run/netns') ? readdirSync('/run/netns').filter((entry) => entry.includes(name)) : []),
    ...groups.filter((folder) => existsSync(folder)),
    ...[`/var/tmp/nsm-cluster/${name}`].filter((folder) => existsSync(folder)),
  ]
}

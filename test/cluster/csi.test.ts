import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'

const drivers = ['csi.networkservicemesh.io', 'csi.spiffe.io']
const agents = ['-n', 'nsm-system', '-l', 'app.kubernetes.io/component=agent']
/** kubelet's longest pause between two attempts is two minutes. */
const longestMs = 200_000

/** What kubectl printed; `input` becomes its standard input. */
async function kubectl(args: readonly string[], input = ''): Promise<string> {
  const done = promisify(execFile)('kubectl', args)
  done.child.stdin?.end(input)
  return (await done).stdout
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + longestMs; !(await holds()); await pause(200)) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`)
  }
}

/** A namespace that allows nothing of the node's, gone with the test. */
async function restrictedNamespace(t: Test, name: string): Promise<void> {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' }
  await kubectl(
    ['apply', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }),
  )
  t.teardown(() => kubectl(['delete', 'namespace', name, '--timeout=180s']))
}

/** A pod with both sockets, from the image that the agent itself runs from. */
async function startPod(namespace: string, name: string, nodeName?: string): Promise<void> {
  const image = (
    await kubectl([
      'get',
      'daemonset',
      ...agents,
      '-o',
      'jsonpath={.items[0].spec.template.spec.containers[0].image}',
    ])
  ).trim()
  const mounts = [
    { name: 'nsm', mountPath: '/var/lib/networkservicemesh' },
    { name: 'identity', mountPath: '/run/spire/sockets' },
  ]
  const securityContext = {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    readOnlyRootFilesystem: true,
  }
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: {
      ...(nodeName === undefined ? {} : { nodeName }),
      terminationGracePeriodSeconds: 1,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'main',
          image,
          command: [
            '/nsm/node',
            '-e',
            `process.once('SIGTERM', () => process.exit()); setInterval(() => 0, 1e9)`,
          ],
          securityContext,
          volumeMounts: mounts,
        },
      ],
      volumes: mounts.map((mount, n) => ({ name: mount.name, csi: { driver: drivers[n], readOnly: true } })),
    },
  }
  await kubectl(['apply', '-f', '-'], JSON.stringify(pod))
}

const ready = (namespace: string, name: string): Promise<string> =>
  kubectl(['-n', namespace, 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=120s'])

const uidOf = (namespace: string, name: string): Promise<string> =>
  kubectl(['-n', namespace, 'get', 'pod', name, '-o', 'jsonpath={.metadata.uid}'])

/** Mounts of our volumes for pods of these UIDs, as any process of this machine sees them. */
async function mountsOf(uids: readonly string[]): Promise<readonly string[]> {
  const tables = (await readdir('/proc'))
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => `/proc/${pid}/mountinfo`)
  const found = new Set<string>()
  for (const table of tables) {
    const text = await readFile(table, 'utf8').catch(() => '')
    for (const line of text.split('\n')) {
      const [, , , , point = '', options = ''] = line.split(' ')
      if (point.includes('/volumes/kubernetes.io~csi/') && uids.some((uid) => point.includes(uid)))
        found.add(`${options} ${point}`)
    }
  }
  return [...found]
}

const scriptInPod = `
  const { readdirSync, writeFileSync } = require('node:fs')
  const refused = (path) => { try { writeFileSync(path, '') } catch (err) { return err.code } }
  const connects = (path) => new Promise((resolve) => {
    const socket = require('node:net').connect(path, () => resolve(true)).on('error', (err) => resolve(err.code))
  })
  const sockets = ['/var/lib/networkservicemesh/nsm.io.sock', '/run/spire/sockets/agent.sock']
  Promise.all(sockets.map(connects)).then((connected) => {
    console.log(JSON.stringify({ connected, written: sockets.map((path) => refused(path + 'x')) }))
    process.exit()
  })
`

/** Ends the agents' processes, those of this cluster, as a crash does; kubelet starts them again. */
async function killAgents(): Promise<void> {
  const uids = (await kubectl(['get', 'pods', ...agents, '-o', 'jsonpath={.items[*].metadata.uid}'])).split(
    ' ',
  )
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const [command, groups] = await Promise.all(
      ['cmdline', 'cgroup'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')),
    )
    const isOurs = uids.some((uid) => uid !== '' && groups?.includes(uid) === true)
    if (isOurs && command?.includes('/nsm/agent.cjs') === true) process.kill(Number(pid), 'SIGKILL')
  }
}

t.test('a pod of a restricted namespace reaches both sockets, also after the agent was killed', async (t) => {
  const namespace = 'csi-sockets'
  await restrictedNamespace(t, namespace)
  await startPod(namespace, 'a')
  await ready(namespace, 'a')
  const reached = { connected: [true, true], written: ['EROFS', 'EROFS'] }
  const look = async (): Promise<unknown> =>
    JSON.parse(await kubectl(['-n', namespace, 'exec', 'a', '--', '/nsm/node', '-e', scriptInPod]))
  t.same(await look(), reached)
  const uid = await uidOf(namespace, 'a')
  const mounts = await mountsOf([uid])
  t.equal(mounts.length, 2, mounts.join(', '))
  for (const mount of mounts) t.match(mount, /^ro,nosuid,nodev,noexec/)

  await killAgents()
  await until(
    'the pod reaches the new Workload API',
    async () => JSON.stringify(await look()) === JSON.stringify(reached),
  )
  await kubectl(['-n', namespace, 'delete', 'pod', 'a', '--timeout=180s'])
  t.same(await mountsOf([uid]), [])
})

t.test('pods that go and come while the agents are away are waited for', async (t) => {
  const namespace = 'csi-away'
  await restrictedNamespace(t, namespace)
  const nodes = (await kubectl(['get', 'nodes', '-o', 'name']))
    .trim()
    .split('\n')
    .map((name) => name.replace('node/', ''))
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
  await kubectl(['wait', '--for=delete', 'pod', ...agents, '--timeout=120s'])
  await kubectl(['-n', namespace, 'delete', 'pods', '--all', '--wait=false'])
  for (const node of nodes) await startPod(namespace, `new-${node}`, node)
  await until('kubelet says that it misses the driver', async () => {
    const events = await kubectl(['-n', namespace, 'get', 'events', '-o', 'jsonpath={.items[*].message}'])
    return /not found in the list of registered CSI drivers/.test(events)
  })
  t.equal((await mountsOf(uids)).length, 2 * nodes.length, 'nobody has unmounted anything')

  await onlyOn(null)
  for (const node of nodes)
    await kubectl(['-n', namespace, 'wait', '--for=delete', `pod/old-${node}`, '--timeout=200s'])
  for (const node of nodes) await ready(namespace, `new-${node}`)
  t.same(await mountsOf(uids), [])
})

t.test('agents are killed again and again while pods go', async (t) => {
  const namespace = 'csi-killed'
  await restrictedNamespace(t, namespace)
  const names = Array.from({ length: 8 }, (_, n) => `pod-${n}`)
  for (const name of names) await startPod(namespace, name)
  for (const name of names) await ready(namespace, name)
  const uids = await Promise.all(names.map((name) => uidOf(namespace, name)))
  const gone = kubectl(['-n', namespace, 'delete', 'pods', '--all', '--timeout=200s'])
  for (let round = 0; round < 3; round++) {
    await killAgents()
    await pause(300)
  }
  await gone
  t.same(await mountsOf(uids), [])
})

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import {
  localMesh,
  noLocalMesh,
  nsm,
  podsOf,
  waitFor,
  type LocalMesh,
  type PodRow,
} from '../kit/local-mesh.ts'
import { client, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
t.setTimeout(300_000)
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 240_000 }

function pod(name: string, spec: object): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'demo' },
    spec: { terminationGracePeriodSeconds: 2, ...spec },
  }
}

async function podOf(mesh: LocalMesh, name: string, wanted: (row: PodRow) => boolean): Promise<PodRow> {
  return waitFor(`pod ${name}`, async () => {
    const row = (await podsOf(mesh, 'demo')).find((one) => one.name === name)
    return row !== undefined && wanted(row) ? row : new Error(JSON.stringify(row))
  })
}

/** Pid of a container's command, as this machine numbers it. */
function pidsWith(text: string): readonly number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  return lines
    .filter((line) => line.includes(text) && !line.includes('nsm-run'))
    .map((line) => Number.parseInt(line, 10))
}

/** Kills process 1 of the node or pod with this host name. */
function killSandbox(mesh: LocalMesh, hostname: string): void {
  const text = readFileSync(`/run/nsm/${mesh.name}/sandboxes.json`, 'utf8')
  const holders = (JSON.parse(text) as readonly { readonly pid: number }[]).filter(({ pid }) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(hostname),
  )
  if (holders.length !== 1) throw new Error(`${holders.length} sandboxes of ${hostname}`)
  for (const { pid } of holders) process.kill(pid, 'SIGKILL')
}

async function comesBack(mesh: LocalMesh, pod: string): Promise<PodRow> {
  await waitFor(`pod ${pod}`, async () => {
    const { code, stderr } = await mesh.nsm(['exec', '-n', 'demo', pod, '--', 'true'])
    return code === 0 ? true : new Error(stderr)
  })
  return podOf(mesh, pod, ({ ready }) => ready)
}

t.test('pods, nodes and the commands', settings, async (t) => {
  const mesh = await localMesh(t, '--nodes', '2')
  await mesh.apply(yamlOf(namespace('demo')))

  t.test('pods of two nodes reach each other over eth0', async (t) => {
    const at = (name: string, nodeName: string): object =>
      pod(name, { nodeName, containers: [{ name: 'c', command: ['sleep', '600'] }] })
    await mesh.apply(yamlOf(at('a', 'node-1'), at('b', 'node-2')))
    const { ip } = await podOf(mesh, 'b', ({ ready }) => ready)
    await podOf(mesh, 'a', ({ ready }) => ready)
    t.match(await mesh.inPod('demo', 'a', `ping -c 1 -W 2 ${ip}`), / 0% packet loss/)
    t.match(
      await mesh.inPod('demo', 'a', 'cat /etc/resolv.conf'),
      /nameserver 10\.199\.0\.1\nsearch demo\.svc\.cluster\.local/,
    )
    t.equal(await mesh.inPod('demo', 'a', 'hostname'), 'a')
    t.equal((await mesh.nsm(['exec', '-n', 'demo', 'a', '--', 'sh', '-c', 'exit 7'])).code, 7)
  })

  t.test('containers start in their order, sidecars last as long as the rest', async (t) => {
    const mounts = { volumeMounts: [{ name: 'v', mountPath: '/v' }] }
    const line = (text: string): object => ({ command: ['sh', '-c', text], ...mounts })
    const startupProbe = { exec: { command: ['test', '-e', '/v/up'] }, periodSeconds: 1 }
    await mesh.apply(
      yamlOf(
        pod('ordered', {
          restartPolicy: 'Never',
          initContainers: [
            {
              name: 'side',
              restartPolicy: 'Always',
              startupProbe,
              ...line(
                'trap "echo side gone; exit" TERM; sleep 0.3; echo side >> /v/log; touch /v/up; while :; do sleep 0.1; done',
              ),
            },
            { name: 'init', ...line('echo init >> /v/log') },
          ],
          containers: [
            {
              name: 'main',
              env: [{ name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } }],
              ...line('echo main >> /v/log; cat /v/log; echo $IP'),
            },
          ],
          volumes: [{ name: 'v', emptyDir: {} }],
        }),
      ),
    )
    const { ip } = await podOf(mesh, 'ordered', ({ phase }) => phase === 'Succeeded')
    t.equal(
      (await mesh.nsm(['logs', '-n', 'demo', 'ordered', '-c', 'main'])).stdout,
      `side\ninit\nmain\n${ip}\n`,
    )
    await waitFor('the sidecar to end', async () => {
      const { stdout } = await mesh.nsm(['logs', '-n', 'demo', 'ordered', '-c', 'side'])
      return stdout === 'side gone\n' ? true : new Error(stdout)
    })
    t.match(
      (await mesh.nsm(['logs', '-n', 'demo', 'ordered'])).stderr,
      /choose a container .* with -c: .*main/,
    )
  })

  t.test('a container that ends is started again, with a pause', async (t) => {
    await mesh.apply(
      yamlOf(pod('ender', { containers: [{ name: 'c', command: ['sh', '-c', 'echo once; exit 3'] }] })),
    )
    const row = await podOf(mesh, 'ender', ({ containers: [only] }) => (only?.restarts ?? 0) >= 2)
    t.match(row, { phase: 'Running', ready: false })
    await podOf(mesh, 'ender', ({ message }) => message === 'c: CrashLoopBackOff')
  })

  t.test('whatever is killed comes back', async (t) => {
    const managers = pidsWith('nsmgr.cjs').filter((pid) =>
      readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(mesh.name),
    )
    t.equal(managers.length, 2)
    for (const pid of managers) process.kill(pid, 'SIGKILL')
    await waitFor('both managers', async () => {
      const { stdout } = await mesh.nsm(['status'])
      return (stdout.match(/nsmgr-node-\d +node-\d +yes +running +1/g) ?? []).length === 2
        ? true
        : new Error(stdout)
    })
    const before = await podOf(mesh, 'a', ({ ready }) => ready)
    killSandbox(mesh, 'a')
    const after = await comesBack(mesh, 'a')
    t.match(after, { uid: before.uid, node: 'node-1' })
  })

  t.test('a killed node comes back with its pods', async (t) => {
    const before = await podOf(mesh, 'b', ({ ready }) => ready)
    killSandbox(mesh, 'node-2')
    const after = await waitFor('the pod to be another one', async () => {
      const row = (await podsOf(mesh, 'demo')).find(({ name }) => name === 'b')
      return row !== undefined && row.ready && row.startedAtMs > before.startedAtMs
        ? row
        : new Error(JSON.stringify(row))
    })
    t.match(after, { uid: before.uid, node: 'node-2' })
    t.match(await mesh.inPod('demo', 'a', `ping -c 1 -W 2 ${after.ip}`), / 0% packet loss/)
  })

  t.test('a deployment keeps its replicas', async (t) => {
    const deployment = (replicas: number, word: string): string =>
      yamlOf({
        apiVersion: 'apps/v1',
        kind: 'Deployment',
        metadata: { name: 'deploy', namespace: 'scale' },
        spec: {
          replicas,
          selector: { matchLabels: { app: 'x' } },
          template: {
            metadata: { labels: { app: 'x' } },
            spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'c', command: ['sleep', word] }] },
          },
        },
      })
    await mesh.apply(yamlOf(namespace('scale')) + '---\n' + deployment(2, '600'))
    const [first = '', second = ''] = await mesh.ready('scale', 2)
    t.match(first, /^deploy-[a-z0-9]{10}-[a-z0-9]{5}$/)
    t.equal((await mesh.nsm(['delete', 'pod', '-n', 'scale', first])).code, 0)
    const again = await mesh.ready('scale', 2)
    t.ok(again.includes(second) && !again.includes(first))
    await mesh.apply(deployment(2, '601'))
    await waitFor('pods of the new template', async () => {
      const names = (await podsOf(mesh, 'scale')).map(({ name }) => name)
      return names.length === 2 && !names.some((name) => again.includes(name))
        ? true
        : new Error(names.join())
    })
    await mesh.apply(deployment(0, '601'))
    await mesh.ready('scale', 0)
    t.match(
      (await mesh.nsm(['delete', 'deployment', '-n', 'scale', 'deploy'])).stdout,
      /deployment scale\/deploy deleted/,
    )
  })

  t.test('what can not be is refused in a sentence', async (t) => {
    const said = async (args: readonly string[], input = ''): Promise<string> => {
      const { code, stdout, stderr } = await mesh.nsm(args, input)
      t.equal(code, 1, args.join(' '))
      return stdout + stderr
    }
    const apply = ['apply', '-f', '-']
    t.match(
      await said(apply, 'kind: Service\napiVersion: v1\nmetadata: {name: a}'),
      /standard input: Service a: kind Service is not supported/,
    )
    t.match(
      await said(apply, yamlOf(client('nowhere', 'x'))),
      /pod nowhere\/x failed: namespace nowhere does not exist/,
    )
    t.match(
      await said(apply, yamlOf(pod('a', { containers: [{ name: 'c', command: ['sleep', '1'] }] }))),
      /delete it first/,
    )
    t.match(
      await said(
        apply,
        yamlOf(pod('far', { nodeName: 'node-9', containers: [{ name: 'c', command: ['a'] }] })),
      ),
      /there is no node node-9; nodes are: node-1, node-2/,
    )
    t.match(
      await said(apply, yamlOf(client('demo', 'bad', 'kernel:///'))),
      /pod demo\/bad failed: denied by the webhook: .*kernel/,
    )
    t.match(
      await said(['exec', '-n', 'demo', 'no-such-pod', '--', 'true']),
      /there is no pod demo\/no-such-pod/,
    )
    t.match(await said(['logs', 'nothing']), /parts of the mesh are: .*nsmgr-node-1/)
    t.match(await said(['get', 'secrets']), /the kind must be one of pod, deployment/)
    t.match(await said(['up']), /is up already \(process \d+\): end it with `nsm down --name/)
  })
})

t.test('a killed mesh leaves nothing, and the next one starts', settings, async (t) => {
  const mesh = await localMesh(t)
  await mesh.apply(yamlOf(client('default', 'left')))
  await mesh.ready('default', 1)
  const folder = `/run/nsm/${mesh.name}`
  const [daemon] = JSON.parse(readFileSync(`${folder}/daemon.json`, 'utf8')) as readonly { pid: number }[]
  const sandboxes = JSON.parse(readFileSync(`${folder}/sandboxes.json`, 'utf8')) as readonly { pid: number }[]
  t.equal(sandboxes.length, 3)
  process.kill(daemon?.pid ?? 0, 'SIGKILL')
  await waitFor('all sandboxes to be gone', async () => {
    const left = sandboxes.filter(({ pid }) => existsSync(`/proc/${pid}/ns/net`))
    return left.length === 0 ? true : new Error(JSON.stringify(left))
  })
  await waitFor('nsm up to clean', async () => (existsSync(folder) ? new Error('folder is there') : true))
  t.match((await mesh.nsm(['get', 'pods'])).stderr, /mesh ".*" is not up: start it with `nsm up --name/)
  t.equal((await mesh.nsm(['up', '--detach'])).code, 0)
  t.equal((await mesh.nsm(['down'])).code, 0)
  t.notOk(existsSync(folder))
})

t.test('options are checked before anything is started', settings, async (t) => {
  for (const [args, reason] of [
    [['up', '--nodes', '0'], /--nodes must be a number from 1 to 64, not 0/],
    [['up', '--name', 'A'], /--name must be up to 31 lower-case letters/],
    [['up', '--underlay', '10.0.0.1/24'], /--underlay must be an IPv4 prefix without host bits/],
    [['up', '--exclude-prefix', 'x'], /--exclude-prefix must be a prefix/],
    [['up', '-f', '/no/such/file'], /no file or folder \/no\/such\/file/],
    [['up', '--token-lifetime', '1'], /--token-lifetime must be a number of seconds from 5/],
    [['dance'], /unknown command 'dance'/],
  ] as const) {
    const { code, stderr } = await nsm(args)
    t.equal(code, 1)
    t.match(stderr, reason)
  }
})

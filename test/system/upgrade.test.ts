import { execFileSync, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { localMesh, noLocalMesh, nodeAlone, waitFor, type LocalMesh } from '../kit/local-mesh.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
t.setTimeout(300_000)

/** Processes of one program in this mesh. */
function pidsOf(mesh: LocalMesh, program: string): readonly number[] {
  const lines = execFileSync('ps', ['-eo', 'pid=,args='], { encoding: 'utf8' }).split('\n')
  return lines
    .filter((line) => line.includes(`${program}.cjs`) && !line.includes('nsm-run'))
    .map((line) => Number.parseInt(line, 10))
    .filter((pid) => readFileSync(`/proc/${pid}/mountinfo`, 'utf8').includes(mesh.name))
}

/** Successful Requests of the client's connection while it is up; 0 when it is not. */
async function requestsOf(mesh: LocalMesh): Promise<number> {
  const { stdout } = await mesh.nsm(['status', '-n', 'last', 'nsc', '-o', 'json'])
  type Answer = readonly {
    readonly status?: {
      readonly connections: readonly {
        readonly state: string
        readonly requests: { readonly succeeded: number }
      }[]
    }
  }[]
  const [connection] = (JSON.parse(stdout) as Answer)[0]?.status?.connections ?? []
  return connection?.state === 'UP' ? connection.requests.succeeded : 0
}

t.test(
  'parts of a node may be killed without a packet lost',
  { ...(skip === undefined ? {} : { skip }), timeout: 180_000 },
  async (t) => {
    const mesh = await localMesh(t)
    const pool = { NSM_SERVICE_NAMES: 'lasting', NSM_CIDR_PREFIX: '172.16.1.100/31' }
    await mesh.apply(
      yamlOf(
        namespace('last'),
        endpoint('last', 'nse', pool),
        client('last', 'nsc', 'kernel://lasting/nsm-1'),
      ),
    )
    await mesh.ready('last', 2)
    // An echo server in the endpoint's pod, asked every 10 ms: a namespace can answer pings when its pod is long dead.
    const echo =
      'require("dgram").createSocket("udp4").on("message",function(m,r){this.send(m,r.port,r.address)}).bind(7007)'
    const asker = `let sent=0,got=0;const s=require("dgram").createSocket("udp4").on("message",()=>got++);
    const t=setInterval(()=>{sent++;s.send("x",7007,"172.16.1.100")},10);
    process.stdin.resume().on("end",()=>{clearInterval(t);setTimeout(()=>{console.log(sent-got,sent);process.exit()},500)})`
    const inPod = (pod: string, script: string): ReturnType<typeof spawn> =>
      spawn('env', [
        ...nodeAlone,
        mesh.program,
        'exec',
        '--name',
        mesh.name,
        '-n',
        'last',
        pod,
        '--',
        process.execPath,
        '-e',
        script,
      ])
    const server = inPod('nse', echo)
    t.teardown(() => server.kill())
    await waitFor('the echo server', async () => {
      const out = await mesh.inPod('last', 'nse', 'cat /proc/net/udp')
      return out.includes(':1B5F') ? true : new Error(out)
    })
    const traffic = inPod('nsc', asker)
    let told = ''
    traffic.stdout?.on('data', (chunk: Buffer) => (told += chunk.toString()))
    const done = new Promise((resolve) => traffic.once('close', resolve))

    const before = await requestsOf(mesh)
    for (const program of ['nsmgr', 'forwarder', 'registry'] as const) {
      const pids = pidsOf(mesh, program)
      t.equal(pids.length, 1, program)
      for (const pid of pids) process.kill(pid, 'SIGKILL')
      await waitFor(`${program} to be back`, async () => {
        const { stdout } = await mesh.nsm(['status'])
        return new RegExp(`^${program}\\S* +\\S+ +yes +running +1`, 'm').test(stdout)
          ? true
          : new Error(stdout)
      })
    }
    await waitFor('the connection to be asked for again', async () => {
      const now = await requestsOf(mesh)
      return now > before ? true : new Error(`${now} requests, as before`)
    })
    traffic.stdin?.end()
    await done
    const [lost, sent] = told.trim().split(' ').map(Number)
    t.ok((sent ?? 0) > 50, told)
    t.equal(lost, 0, told)
  },
)

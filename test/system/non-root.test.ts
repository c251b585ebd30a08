import t from 'tap'
import { localMesh, noLocalMesh } from '../kit/local-mesh.ts'
import { connectionOf, fileOf, pidOf, restartsOf } from '../kit/mesh-processes.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
t.setTimeout(200_000)

interface Pod {
  readonly spec: { readonly containers: readonly object[] }
}

/** The pod with a user that may do nothing, on a root file system that nobody may write to. */
function restricted(pod: object): object {
  const { spec } = pod as Pod
  const securityContext = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true }
  const containers = spec.containers.map((container) => ({ ...container, securityContext }))
  return { ...pod, spec: { ...spec, securityContext: { runAsUser: 65_532, runAsNonRoot: true }, containers } }
}

t.test(
  'client, sidecar and endpoint without root or a writable root file system',
  { ...(skip === undefined ? {} : { skip }), timeout: 180_000 },
  async (t) => {
    const mesh = await localMesh(t)
    const pool = { NSM_SERVICE_NAMES: 'modest', NSM_CIDR_PREFIX: '172.16.7.0/30' }
    await mesh.apply(
      yamlOf(
        namespace('modest', { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } }),
        restricted(endpoint('modest', 'nse', pool)),
        restricted(client('modest', 'nsc', 'kernel://modest/nsm-1')),
      ),
    )
    await mesh.ready('modest', 2)
    const { endpointAddresses } = await connectionOf(mesh, ['modest', 'nsc'])
    t.same(endpointAddresses, ['172.16.7.0/32'])
    for (const program of ['sidecar', 'icmp-responder']) {
      const status = fileOf(pidOf(mesh, program), 'status')
      t.match(status, /^Uid:\t65532\t65532\t65532\t65532$/m, program)
      t.match(status, /^CapEff:\t0+$/m, program)
    }
    t.equal(await mesh.inPod('modest', 'nsc', 'id -u; id -g; echo $HOSTNAME'), '65532\n65532\nnsc')
    t.equal(await mesh.inPod('modest', 'nsc', 'touch /x 2>/dev/null || echo read-only'), 'read-only')
    const reply = 'ping -c 1 -W 5 172.16.7.0'
    t.match(await mesh.inPod('modest', 'nsc', reply), / 0% packet loss/)

    const { requests } = await connectionOf(mesh, ['modest', 'nsc'])
    process.kill(pidOf(mesh, 'nsmgr'), 'SIGKILL')
    await connectionOf(
      mesh,
      ['modest', 'nsc'],
      (row) => row.state === 'UP' && row.requests.succeeded > requests.succeeded,
    )
    t.equal(await restartsOf(mesh, 'nsmgr'), 1)
  },
)

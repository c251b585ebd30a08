import t from 'tap'
import { localMesh, noLocalMesh } from '../kit/local-mesh.ts'
import { connectionOf, sandboxOf } from '../kit/mesh-processes.ts'
import { answering, asking } from '../kit/pod-traffic.ts'
import { client, endpoint, namespace, yamlOf } from '../kit/pods.ts'

const skip = noLocalMesh()
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 280_000 }

t.test('an endpoint dies with its pod', settings, async (t) => {
  const mesh = await localMesh(t)
  const serving = (name: string): object =>
    endpoint('heal', name, {
      NSM_SERVICE_NAMES: 'healing',
      NSM_REGISTER_SERVICE: 'false',
      NSM_CIDR_PREFIX: '172.16.2.0/30',
    })
  const service = {
    apiVersion: 'networkservicemesh.io/v1',
    kind: 'NetworkService',
    metadata: { name: 'healing', namespace: 'heal' },
  }
  await mesh.apply(yamlOf(namespace('heal'), service, serving('nse-a'), serving('nse-b')))
  await mesh.ready('heal', 2)
  await mesh.apply(yamlOf(client('heal', 'nsc', 'kernel://healing/nsm-1')))
  const nsc = ['heal', 'nsc'] as const
  const gaps: number[] = []
  for (const name of ['nse-a', 'nse-b']) await answering(t, mesh, ['heal', name])
  for (let round = 0; round < 6; round++) {
    const now = await connectionOf(mesh, nsc)
    const traffic = await asking(t, mesh, nsc, '172.16.2.0')
    await new Promise((resolve) => setTimeout(resolve, 300))
    const dying = now.endpoint
    process.kill(sandboxOf(mesh, dying), 'SIGKILL')
    const healed = await connectionOf(mesh, nsc, (row) => row.state === 'UP' && row.endpoint !== dying)
    t.not(healed.endpoint, dying)
    await mesh.inPod(...nsc, 'ping -c 1 -W 5 172.16.2.0')
    const heard = await traffic.stop()
    gaps.push(heard.longestGapMs)
    await mesh.ready('heal', 3)
    await answering(t, mesh, ['heal', dying])
  }
  t.comment(`without an answer after the endpoint's pod was killed: ${gaps.join(', ')} ms`)
  t.ok(Math.max(...gaps) < 20_000, gaps.join())
})

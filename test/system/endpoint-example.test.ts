import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { localMesh, noLocalMeshWith, waitFor, type LocalMesh } from '../kit/local-mesh.ts'

const checkout = fileURLToPath(new URL('../../..', import.meta.url)).replace(/\/$/, '')
const skip = noLocalMeshWith(checkout)
t.setTimeout(300_000)

interface Status {
  /** Missing while the sidecar starts. */
  readonly status?: { readonly connections: readonly { readonly state: string; readonly message: string }[] }
}

async function connectionOf(mesh: LocalMesh, pod: string, wanted: RegExp): Promise<void> {
  await waitFor(`${pod}: ${wanted}`, async () => {
    const { stdout, stderr } = await mesh.nsm(['status', pod, '-n', 'dinner', '-o', 'json'])
    if (stdout === '') return new Error(stderr)
    const [connection] = (JSON.parse(stdout) as readonly Status[])[0]?.status?.connections ?? []
    const text = connection === undefined ? 'none' : `${connection.state} ${connection.message}`
    return wanted.test(text) ? undefined : new Error(text)
  })
}

t.test(
  'the example of an endpoint runs as a pod, and does what its own element says',
  { ...(skip === undefined ? {} : { skip }), timeout: 180_000 },
  async (t) => {
    const yaml = await readFile(`${checkout}/examples/endpoint/endpoint.yaml`, 'utf8')
    const mesh = await localMesh(t)
    await mesh.apply(yaml.replaceAll('CHECKOUT', checkout))
    await connectionOf(mesh, 'guest-1', /^UP/)
    await mesh.ready('dinner', 2)
    await mesh.inPod('dinner', 'guest-1', 'ping -c 1 -W 2 172.16.9.0')
    const guest = yaml.split('\n---\n').find((document) => document.includes('guest-1')) ?? ''
    await mesh.apply(guest.replace('guest-1', 'guest-2'))
    await connectionOf(mesh, 'guest-2', /^CONNECTING .*all 1 places of this endpoint are taken/)
    t.equal((await mesh.nsm(['delete', 'pod', 'guest-1', '-n', 'dinner'])).code, 0)
    await connectionOf(mesh, 'guest-2', /^UP/)
  },
)

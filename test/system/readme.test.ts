import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { localMesh, noLocalMesh } from '../kit/local-mesh.ts'

const skip = noLocalMesh()
t.setTimeout(300_000)
const checkout = fileURLToPath(new URL('../../..', import.meta.url))

const ownPod = `
apiVersion: v1
kind: Pod
metadata: { name: mine }
spec: { terminationGracePeriodSeconds: 0, containers: [{ name: app, command: [sleep, infinity] }] }
`

t.test(
  "the commands of README's section “Look around” do what they say",
  { ...(skip === undefined ? {} : { skip }), timeout: 120_000 },
  async (t) => {
    const readme = await readFile(join(checkout, 'README.md'), 'utf8')
    const section = readme.split('\n## Look around\n')[1]?.split('\n## ')[0] ?? ''
    const lines = [...section.matchAll(/^ {4}\.\/nsm (.*)$/gm)].map(
      ([, line = '']) => line.split('#')[0] ?? '',
    )
    t.ok(lines.length >= 5)

    const pods = join(t.testdir(), 'my-pods.yaml')
    await writeFile(pods, ownPod)
    const mesh = await localMesh(t, '-f', join(checkout, 'examples/quickstart'))
    await mesh.ready('demo', 3)
    const printed = new Map<string, string>()
    for (const line of lines) {
      const args = line.trim().split(/\s+/)
      const { code, stdout, stderr } = await mesh.nsm(
        args.map((word) => (word === 'my-pods.yaml' ? pods : word)),
      )
      t.equal(code, 0, `${line}: ${stderr}`)
      t.not(stdout, '', line)
      printed.set(args[0] ?? '', `${printed.get(args[0] ?? '') ?? ''}${stdout}`)
    }
    t.match(printed.get('status'), /client-2 +db-replication +UP/)
    t.match(printed.get('status'), /HOP +TIME +SPIFFE ID\n +client-1\S* +\d+\.\d ms +spiffe:\/\//)
    t.match(printed.get('exec'), /default via .* dev eth0/)
    t.match(printed.get('exec'), /172\.16\.1\.\d+ dev nsm-1/)
    t.match(printed.get('apply'), 'pod default/mine created')

    const misspelt = ownPod.replace(
      'name: mine',
      'name: typo, annotations: { networkservicemesh: kernel://db/nsm-1 }',
    )
    t.match(
      (await mesh.nsm(['apply', '-f', '-'], misspelt)).stdout,
      'pod default/typo created: warning: annotation networkservicemesh means nothing; did you mean networkservicemesh.io?',
    )
  },
)

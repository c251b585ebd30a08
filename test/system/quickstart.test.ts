import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { noLocalMesh, nsm } from '../kit/local-mesh.ts'

const skip = noLocalMesh()
t.setTimeout(300_000)
const example = fileURLToPath(new URL('../../../examples/quickstart', import.meta.url))

t.test(
  'the quickstart ends well',
  { ...(skip === undefined ? {} : { skip }), timeout: 180_000 },
  async (t) => {
    const name = `q${process.pid}`
    const { code, stdout, stderr } = await nsm(['quickstart', example, '--once', '--name', name])
    t.equal(code, 0, stderr)
    t.match(stdout, /demo +client-1 +db-replication +UP +\S+ +nsm-1 +172\.16\.1\.\d+\/32/)
    t.match(stdout, /demo +client-2 +db-replication +UP/)
    t.equal(stdout.match(/3 packets transmitted, 3 received, 0% packet loss/g)?.length, 2)
    t.match(stdout, / {2}default via 10\.244\.0\.1 dev eth0\n/)
    t.match(stdout, /\+ 172\.16\.1\.\d+ dev nsm-1\n/)
    t.notOk(existsSync(`/run/nsm/${name}`), 'nothing is left')
  },
)

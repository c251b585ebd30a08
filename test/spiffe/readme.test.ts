import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { nodeListen, runAuthority, type RunningAuthority } from '../kit/authority.ts'

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
const run = promisify(execFile)

/** Callers get the IDs /caller/1, /caller/2 … */
async function authority(t: Test): Promise<RunningAuthority> {
  let callers = 0
  const running = await runAuthority({
    trustDomain: 'example.org',
    listen: nodeListen(() => ({ pid: ++callers, uid: 0, gid: 0 })),
    attest: async ({ pid }) => `spiffe://example.org/caller/${pid}`,
  })
  t.teardown(async () => running.stop())
  return running
}

t.test('the code of the README is the code that is tried here', async (t) => {
  const readme = await readFile(file('../../../spiffe/README.md'), 'utf8')
  const blocks = [...readme.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => code)
  const names = ['server', 'client', 'grpc']
  const sources = await Promise.all(
    names.map(async (name) => readFile(file(`../../spiffe/examples/${name}.ts`), 'utf8')),
  )
  t.same(blocks, sources)
})

t.test('server and client', async (t) => {
  const { address, folder } = await authority(t)
  const env = { ...process.env, SPIFFE_ENDPOINT_SOCKET: address }
  const socket = `${folder}/server.sock`
  const server = spawn(process.execPath, [file('./examples/server.js'), socket], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => server.kill())
  const [line] = (await once(server.stdout, 'data')) as [Buffer]
  t.equal(line.toString(), 'spiffe://example.org/caller/1 listens\n')
  const args = [file('./examples/client.js'), socket, 'spiffe://example.org/caller/1']
  const { stdout } = await run(process.execPath, args, { env })
  t.equal(stdout, 'hello /caller/2\n')
})

t.test('gRPC', async (t) => {
  const { address, folder } = await authority(t)
  const env = { ...process.env, SPIFFE_ENDPOINT_SOCKET: address }
  const { stdout } = await run(process.execPath, [file('./examples/grpc.js'), `${folder}/grpc.sock`], { env })
  t.equal(stdout, 'hello spiffe://example.org/caller/1\n')
})

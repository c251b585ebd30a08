import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { freePort } from '../kit/running-process.ts'
import { until } from '../kit/until.ts'

const build = fileURLToPath(new URL('../../../build', import.meta.url))
const daemons = ['registry', 'nsmgr', 'forwarder', 'webhook', 'sidecar', 'icmp-responder']
const skip = existsSync(join(build, 'meta.json')) ? undefined : 'needs the bundles: run scripts/setup'
const settings = { ...(skip === undefined ? {} : { skip }), timeout: 25_000 }

function start(t: Test, name: string, env: NodeJS.ProcessEnv, stdio: StdioOptions): ChildProcess {
  const child = spawn(process.execPath, [join(build, `${name}.cjs`)], { env, stdio })
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

/** Exit code and all that a shell line printed, where `$NODE` and `$BUILD` are set. */
async function shell(line: string): Promise<{ code: number; text: string }> {
  const env = { PATH: process.env['PATH'], NODE: process.execPath, BUILD: build }
  const child = spawn('bash', ['-c', `set -o pipefail; exec 2>&1; ${line}`], { env })
  let text = ''
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, text }
}

t.test('each program explains itself, without any setting', settings, async (t) => {
  for (const name of daemons) {
    const { code, text } = await shell(`"$NODE" "$BUILD/${name}.cjs" --help </dev/null`)
    t.equal(code, 0, name)
    t.match(text, new RegExp(`^${name} is configured by environment variables:\n\n  NSM_`))
  }
  const { code, text } = await shell('"$NODE" "$BUILD/nsm.cjs" --help')
  t.equal(code, 0)
  t.match(text, /^Usage: nsm /)
})

t.test('a reader that leaves early is no fault', settings, async (t) => {
  const { code, text } = await shell('"$NODE" "$BUILD/nsm.cjs" --help | true')
  t.same([code, text], [0, ''])
})

t.test('without settings a program names what it needs, and ends', settings, async (t) => {
  for (const name of daemons.filter((one) => one !== 'webhook')) {
    const { code, text } = await shell(`"$NODE" "$BUILD/${name}.cjs"`)
    t.equal(code, 1, name)
    t.match(text, /"msg":"fatal"/)
    t.match(text, /SPIFFE_ENDPOINT_SOCKET is required/)
  }
})

/** Where its log goes, and how its standard input is. */
const outputs: Readonly<Record<string, () => { readonly stdio: StdioOptions; readonly end?: () => void }>> = {
  'a log on a full disk': () => {
    const fd = openSync('/dev/full', 'w')
    return { stdio: ['ignore', fd, fd], end: () => closeSync(fd) }
  },
  'a log that nobody reads any more': () => ({ stdio: ['ignore', 'pipe', 'pipe'] }),
  'an input that ends': () => ({ stdio: ['pipe', 'ignore', 'ignore'] }),
}

for (const [what, make] of Object.entries(outputs))
  t.test(`${what} does not keep a program from serving, nor from ending`, settings, async (t) => {
    const port = await freePort()
    const env = {
      NSM_LISTEN_ON: '127.0.0.1:0',
      NSM_OPS_LISTEN_ON: `127.0.0.1:${port}`,
      NSM_CONTAINER_IMAGES: 'sidecar',
      NSM_CA_BUNDLE_FILE_PATH: join(t.testdir(), 'ca.pem'),
      NSM_LOG_LEVEL: 'TRACE',
      NSM_NO_SUCH: 'a warning',
    }
    const { stdio, end } = make()
    const child = start(t, 'webhook', env, stdio)
    end?.()
    child.stdout?.destroy()
    child.stderr?.destroy()
    child.stdin?.end()
    const exit = once(child, 'exit')
    const ready = async (): Promise<boolean> => {
      const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined)
      return answer?.status === 200
    }
    await until('it is ready', ready)
    t.ok(await ready(), 'and again')
    child.kill('SIGTERM')
    t.same(await exit, [0, null])
  })

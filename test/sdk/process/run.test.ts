import { version } from '@nsm/sdk/process/version.js'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'

const program = new URL('../../kit/example-process.js', import.meta.url).pathname

interface Running {
  readonly child: ChildProcess
  readonly lines: Record<string, unknown>[]
  /** What Node or V8 wrote beside the log. */
  readonly complaints: () => string
  readonly said: (msg: string) => Promise<void>
  readonly ended: () => Promise<number | null>
}

function start(t: Test, env: Record<string, string> = {}): Running {
  const child = spawn(process.execPath, [program], { env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let complaints = ''
  child.stderr.on('data', (chunk) => (complaints += String(chunk)))
  const lines: Record<string, unknown>[] = []
  const reader = createInterface({ input: child.stdout })
  const gone = once(reader, 'close')
  const exit = once(child, 'exit')
  reader.on('line', (line) => {
    lines.push(JSON.parse(line) as Record<string, unknown>)
    reader.emit('said')
  })
  return {
    child,
    lines,
    complaints: () => complaints,
    said: async (msg) => {
      while (!lines.some((line) => line['msg'] === msg)) {
        if ((await Promise.race([once(reader, 'said'), gone.then(() => 'gone')])) === 'gone') {
          throw new Error(`never said ${msg}`)
        }
      }
    },
    ended: async () => {
      const [code] = (await exit) as [number | null]
      await gone
      return code
    },
  }
}

t.test('SIGTERM ends it in good order', async (t) => {
  const { child, lines, said, ended, complaints } = start(t)
  await said('ready')
  child.kill('SIGTERM')
  t.equal(await ended(), 0)
  t.match(lines, [
    { msg: 'ready', app: 'example' },
    { msg: 'stopping', reason: 'SIGTERM' },
    { msg: 'stopped' },
  ])
  t.equal(complaints(), '', 'V8 knows the flag that caps its young generation')
})

t.test('a service that does not close is left behind, and so is a start that never ends', async (t) => {
  const hanging = start(t, { NSM_DOES: 'hang' })
  const starting = start(t, { NSM_DOES: 'never-start' })
  await Promise.all([hanging.said('ready'), starting.said('starting')])
  hanging.child.kill('SIGTERM')
  starting.child.kill('SIGINT')
  t.equal(await hanging.ended(), 0)
  t.equal(await starting.ended(), 0)
  t.match(hanging.lines.at(-2), { level: 40, msg: 'not everything was closed in time' })
})

t.test('faults of the start are fatal and say why', async (t) => {
  const wrong = start(t, { NSM_LOG_LEVEL: 'loud', NSM_DOES: 'x' })
  const failing = start(t, { NSM_DOES: 'fail' })
  t.equal(await wrong.ended(), 1)
  t.match(wrong.lines, [
    { level: 50, code: 'INVALID_ARGUMENT', err: /NSM_LOG_LEVEL .*; NSM_DOES /, msg: 'fatal' },
  ])
  t.equal(await failing.ended(), 1)
  t.match(failing.lines, [{ code: 'UNKNOWN', err: 'cannot start', msg: 'fatal' }])
})

t.test('what harms one call is survived, a mistake is not', async (t) => {
  const rejecting = start(t, { NSM_DOES: 'reject' })
  const reset = start(t, { NSM_DOES: 'reset' })
  const throwing = start(t, { NSM_DOES: 'throw' })
  t.equal(await throwing.ended(), 1)
  t.match(throwing.lines.at(-1), { err: 'a mistake', msg: 'fatal' })
  await rejecting.said('unhandled rejection')
  await reset.said('unhandled connection fault')
  for (const { child, ended } of [rejecting, reset]) {
    child.kill('SIGTERM')
    t.equal(await ended(), 0)
  }
})

t.test('work done ends it; signals change the level', async (t) => {
  t.equal(await start(t, { NSM_DOES: 'end' }).ended(), 0)
  const { child, lines, said } = start(t)
  await said('ready')
  child.kill('SIGUSR1')
  await said('a detail')
  child.kill('SIGUSR2')
  await said('less')
  t.notOk(lines.some(({ msg }) => msg === 'a hidden detail'))
})

t.test('--help needs no configuration', async (t) => {
  const child = spawn(process.execPath, [program, '--help'], { env: { NSM_DOES: 'nonsense' } })
  let text = ''
  child.stdout.on('data', (chunk) => (text += String(chunk)))
  const [code] = (await once(child, 'close')) as [number]
  t.equal(code, 0)
  t.match(text, 'NSM_LOG_LEVEL (log level; default: INFO)')
})

t.test('the version is that of the package', async (t) => {
  const file = new URL('../../../../package.json', import.meta.url)
  t.equal((JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version, version)
})

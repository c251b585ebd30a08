import t from 'tap'
import { CommandError, run } from './command.ts'

t.test('what a program prints, and why it failed', async (t) => {
  t.equal(await run(['cat'], { input: 'in and out' }), 'in and out')
  const failure = await run(['sh', '-c', 'echo half; echo why >&2; exit 3']).catch((err: unknown) => err)
  if (!(failure instanceof CommandError)) throw new Error(`expected a command to fail: ${String(failure)}`)
  t.match(failure, {
    status: 3,
    stdout: 'half\n',
    message: 'sh -c echo half; echo why >&2; exit 3: status 3\nwhy',
  })
})

t.test('a program that does not end is killed', async (t) => {
  await t.rejects(run(['sleep', '600'], { timeoutMs: 50 }), {
    message: 'sleep 600: killed: Error: no end within 0.05 s',
  })
  const gone = new AbortController()
  const running = run(['sleep', '600'], { signal: gone.signal })
  gone.abort(new Error('nobody asks any more'))
  await t.rejects(running, { message: /nobody asks any more/ })
  await t.rejects(run(['sleep', '600'], { signal: gone.signal }), { message: /nobody asks any more/ })
})

t.test('what it has started may live on with its output', async (t) => {
  await t.rejects(run(['sh', '-c', 'sleep 2 & wait'], { timeoutMs: 50 }), { message: /killed/ })
})

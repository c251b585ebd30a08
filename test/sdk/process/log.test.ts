import type { LineWriter } from '@nsm/sdk/process/line-writer.js'
import { lineWriter } from '@nsm/sdk/process/line-writer.js'
import { jsonLog } from '@nsm/sdk/process/json-log.js'
import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

function memory(): { out: LineWriter; lines: () => Record<string, unknown>[] } {
  const text: string[] = []
  return {
    out: { write: (line) => void text.push(line), flush: async () => undefined },
    lines: () => text.map((line) => JSON.parse(line) as Record<string, unknown>),
  }
}

for (const [name, open] of Object.entries({ jsonLog, pinoLog })) {
  t.test(`${name}: pino's fields, children, levels at run time`, async (t) => {
    const { out, lines } = memory()
    const { log, setLevel } = open('nsmgr', out)
    const child = log.child({ connection_id: 'c' })
    log.debug({}, 'not yet')
    child.info({ a: 1 }, 'one')
    setLevel('trace')
    child.debug({}, 'two')
    setLevel('error')
    child.warn({}, 'not any more')
    log.error({ err: new Error('broken', { cause: new Error('because') }), big: 1n }, 'three')
    t.match(lines(), [
      { level: 30, app: 'nsmgr', connection_id: 'c', a: 1, msg: 'one', time: Number },
      { level: 20, connection_id: 'c', msg: 'two' },
      { level: 50, msg: 'three', err: { type: 'Error', message: /broken/, stack: String } },
    ])
    t.equal(lines().length, 3)
  })
}

t.test('a circular field does not lose the line', async (t) => {
  const { out, lines } = memory()
  const circular: Record<string, unknown> = {}
  circular['self'] = circular
  jsonLog('x', out).log.info({ circular }, 'still here')
  t.match(lines(), [{ msg: 'still here', log_error: /circular/ }])
})

t.test('lines are written in order, surplus is dropped and told', async (t) => {
  const file = join(t.testdir(), 'log')
  const fd = openSync(file, 'w')
  t.teardown(() => closeSync(fd))
  const writer = lineWriter(fd)
  await writer.flush()
  const line = `"${'x'.repeat(1_000)}"\n`
  for (let i = 0; i < 2_000; i++) writer.write(line)
  await writer.flush()
  writer.write('"after"\n')
  await writer.flush()
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  t.equal(lines.at(-1), '"after"')
  const note = JSON.parse(lines.at(-2) ?? '') as { dropped: number }
  t.equal(note.dropped + lines.length - 2, 2_000)
})

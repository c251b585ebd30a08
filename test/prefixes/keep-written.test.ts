import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { keepWritten } from '@nsm/prefixes/keep-written.js'
import { fileOutput, type Output } from '@nsm/prefixes/output.js'
import { silent } from '@nsm/sdk/log.js'
import t from 'tap'
import { advance } from '../kit/advance.ts'
import { handClock } from '../kit/clock.ts'

const memory = () => {
  const state = { text: undefined as string | undefined, reads: 0, writes: 0, isBroken: false }
  const output: Output = {
    name: 'memory',
    async read() {
      state.reads += 1
      if (state.isBroken) throw new Error('no disk')
      return state.text
    },
    async write(text) {
      state.writes += 1
      state.text = text
    },
  }
  return { state, output }
}

const setup = () => {
  const clock = handClock()
  const { state, output } = memory()
  const wanted = { text: undefined as string | undefined, asked: 0 }
  const text = (): string | undefined => {
    wanted.asked += 1
    return wanted.text
  }
  const kept = keepWritten({ output, text, clock, log: silent })
  return { clock, state, wanted, kept }
}

t.test('nothing before it is known, then each change, and not what is the same', async (t) => {
  const { clock, state, wanted, kept } = setup()
  state.text = 'from before'
  kept.changed()
  await advance(clock, 1_000)
  t.equal(state.text, 'from before')
  t.match(kept.fault(), /not all sources are known/)
  wanted.text = 'one'
  kept.changed()
  await advance(clock, 100)
  t.same([state.text, kept.fault()], ['one', undefined])
  kept.changed()
  await advance(clock, 100)
  t.equal(state.writes, 1)
  wanted.text = 'two'
  for (let n = 0; n < 100; n += 1) kept.changed()
  const { asked } = wanted
  await advance(clock, 100)
  t.same([state.text, state.writes, wanted.asked], ['two', 2, asked + 1], 'a swarm of changes is one')
  kept.close()
  wanted.text = 'three'
  kept.changed()
  await advance(clock, 1_000_000)
  t.equal(state.text, 'two')
})

t.test('what is right already after a restart is not written again', async (t) => {
  const { clock, state, wanted, kept } = setup()
  state.text = 'one'
  wanted.text = 'one'
  kept.changed()
  await advance(clock, 100)
  t.same([state.writes, kept.fault()], [0, undefined])
  kept.close()
})

t.test('what others do to it is put right', async (t) => {
  const { clock, state, wanted, kept } = setup()
  wanted.text = 'one'
  kept.changed()
  await advance(clock, 100)
  state.text = undefined
  clock.advance(300_000)
  await advance(clock, 0)
  t.equal(state.text, 'one')
  kept.close()
})

t.test('a failure is told, tried again later each time, and not hurried by changes', async (t) => {
  const { clock, state, wanted, kept } = setup()
  state.isBroken = true
  wanted.text = 'one'
  kept.changed()
  await advance(clock, 20_000)
  t.equal(kept.fault(), 'no disk')
  const { reads } = state
  t.ok(reads >= 4 && reads <= 9, `${reads} tries`)
  kept.changed()
  await advance(clock, 200)
  t.ok(state.reads <= reads + 1)
  state.isBroken = false
  await advance(clock, 60_000)
  t.same([state.text, kept.fault()], ['one', undefined])
  kept.close()
})

t.test('a change while it is being written', async (t) => {
  const { clock, state, wanted, kept } = setup()
  wanted.text = 'one'
  kept.changed()
  clock.advance(100)
  wanted.text = 'two'
  kept.changed()
  await advance(clock, 0)
  t.equal(state.text, 'one')
  await advance(clock, 100)
  t.equal(state.text, 'two')
  kept.close()
})

t.test('a file: made with its folder, for its owner, replaced in one piece', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-output-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'config', 'excluded_prefixes.yaml')
  const output = fileOutput(path)
  t.equal(await output.read(), undefined)
  await output.write('one')
  t.equal(await output.read(), 'one')
  const { mode, ino } = await stat(path)
  t.equal(mode & 0o777, 0o600)
  await output.write('two')
  t.equal(await readFile(path, 'utf8'), 'two')
  t.not((await stat(path)).ino, ino)
  t.same(await readdir(join(folder, 'config')), ['excluded_prefixes.yaml'])
  await writeFile(join(folder, 'no-folder'), '')
  await t.rejects(fileOutput(join(folder, 'no-folder', 'x')).write('x'), { code: /EEXIST|ENOTDIR/ })
})

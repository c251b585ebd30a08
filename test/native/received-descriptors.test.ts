import { closeSync, fstatSync, openSync } from 'node:fs'
import { native } from '@nsm/native/native.js'
import { ReceivedDescriptors } from '@nsm/native/received-descriptors.js'
import t, { type Test } from 'tap'

/** A descriptor to put, and the key of its file. */
function file(
  t: Test,
  name: string,
): { readonly copy: () => number; readonly key: readonly [bigint, bigint] } {
  const fd = openSync(`${t.testdirName}/${name}`, 'w')
  t.teardown(() => closeSync(fd))
  const { dev, ino } = fstatSync(fd, { bigint: true })
  return { copy: () => native.duplicate(fd), key: [dev, ino] }
}

const { signal: never } = new AbortController()

/** Nothing is there: a call that asks waits until it gives up. */
async function isAbsent(
  t: Test,
  received: ReceivedDescriptors,
  key: readonly [bigint, bigint],
): Promise<void> {
  const controller = new AbortController()
  const taken = received.take(...key, controller.signal)
  controller.abort(new Error('gave up'))
  await t.rejects(taken, { message: 'gave up' })
}

t.test('a file that came twice is there until it was forgotten twice', async (t) => {
  t.testdir({})
  const received = new ReceivedDescriptors()
  const { copy, key } = file(t, 'a')
  received.put(copy())
  received.put(copy())
  received.forget(...key)
  native.close(await received.take(...key, never))
  received.forget(...key)
  await isAbsent(t, received, key)
})

t.test('what nobody asks for is closed after a minute, when another comes', async (t) => {
  t.testdir({})
  let now = 0
  const received = new ReceivedDescriptors(() => now)
  t.teardown(() => received.close(new Error('the end')))
  const [a, b, c] = [file(t, 'a'), file(t, 'b'), file(t, 'c')]
  received.put(a.copy())
  received.put(b.copy())
  now = 50_000
  received.put(a.copy())
  now = 61_000
  received.put(c.copy())
  native.close(await received.take(...a.key, never))
  native.close(await received.take(...c.key, never))
  await isAbsent(t, received, b.key)
})

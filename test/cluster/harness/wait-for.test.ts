import t from 'tap'
import { waitFor } from './wait-for.ts'

t.test('asks again until there is an answer', async (t) => {
  const answers = [undefined, false, 'yes']
  t.equal(await waitFor('an answer', () => answers.shift() ?? 'too late'), 'too late')
  t.equal(await waitFor('an answer', async () => answers.shift()), 'yes')
})

t.test('tells why the last question failed', async (t) => {
  const failing = waitFor('the cat', async () => Promise.reject(new Error('on the roof')), 300)
  await t.rejects(failing, { message: 'waited in vain for the cat: on the roof' })
})

t.test('a question that is never answered ends, and hears of it', async (t) => {
  let heard: AbortSignal | undefined
  const hanging = waitFor(
    'the cat',
    async (signal) => {
      heard = signal
      return new Promise<undefined>(() => undefined)
    },
    50,
  )
  await t.rejects(hanging, { message: 'waited in vain for the cat: the question was not answered' })
  t.equal(heard?.aborted, true)
})

import fc from 'fast-check'
import t from 'tap'
import { frame, messageReader } from '@nsm/spiffe/framing.js'

t.test('messages come out as they went in, however the body is cut', async (t) => {
  const message = fc.uint8Array({ maxLength: 300 })
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 8 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 64 })),
      (sent, sizes) => {
        const body = Buffer.concat(sent.map(frame))
        const reader = messageReader(300)
        const received: Buffer[] = []
        for (let at = 0; at < body.length;) {
          const size = sizes.next().value ?? 1
          received.push(...reader.push(body.subarray(at, at + size)))
          at += size
        }
        return (
          !reader.partial &&
          Buffer.concat(received.map(frame)).equals(body) &&
          received.length === sent.length
        )
      },
    ),
  )
  t.pass('for any messages and any cuts')
})

t.test('a message that is not whole yet is seen as such', async (t) => {
  const reader = messageReader(10)
  t.same(reader.push(frame(Buffer.from('abc')).subarray(0, 6)), [])
  t.ok(reader.partial)
  t.same(reader.push(Buffer.from('bc')), [Buffer.from('abc')])
  t.notOk(reader.partial)
})

t.test('a length above the limit is refused before the message has come', async (t) => {
  const announced = Buffer.from([0, 0xff, 0xff, 0xff, 0xff])
  t.throws(() => messageReader(1000).push(announced), {
    code: 'RESOURCE_EXHAUSTED',
    message: /4294967295 bytes, at most 1000/,
  })
})

t.test('compressed messages and unknown flags are refused', async (t) => {
  t.throws(() => messageReader(10).push(Buffer.from([1, 0, 0, 0, 0])), { code: 'UNIMPLEMENTED' })
  t.throws(() => messageReader(10).push(Buffer.from([7, 0, 0, 0, 0])), {
    code: 'INTERNAL',
    message: /flag 7/,
  })
})

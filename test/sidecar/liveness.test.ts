import { Connection } from '@nsm/api/gen/connection.js'
import { background } from '@nsm/sdk/ctx.js'
import { liveness, type Ping } from '@nsm/sidecar/liveness.js'
import t from 'tap'
import { handClock } from '../kit/clock.js'
import { settled } from '../kit/settled.js'

const conn = (src: string[], dst: string[], type = 'KERNEL'): Connection =>
  Connection.fromPartial({
    mechanism: { type },
    context: { ipContext: { srcIpAddrs: src, dstIpAddrs: dst } },
  })
const pair = conn(['10.0.0.1/32'], ['10.0.0.2/32'])
const answering: Ping = async () => 0.1

t.test('one reply for each pair of equal family is enough', async (t) => {
  const asked: string[] = []
  const ping: Ping = async (source, destination) => {
    asked.push(`${source} ${destination}`)
    return 0.1
  }
  const dual = conn(['10.0.0.1/32', 'fd00::1/128'], ['10.0.0.2/32', 'fd00::2/128', '10.0.0.3/24'])
  t.equal(await liveness(ping, 1_000)(background(), dual), true)
  t.same(asked.toSorted(), ['10.0.0.1 10.0.0.2', '10.0.0.1 10.0.0.3', 'fd00::1 fd00::2'])

  const half: Ping = async (source) => (source.includes(':') ? undefined : 0.1)
  const ctx = background({ clock: instant() })
  t.equal(await liveness(half, 1_000)(ctx, dual), false)
})

t.test('an address that is there for a policy route is not tested', async (t) => {
  const asked: string[] = []
  const ping: Ping = async (source) => {
    asked.push(source)
    return 0.1
  }
  const of = (...from: string[]): Connection =>
    Connection.fromPartial({
      mechanism: { type: 'KERNEL' },
      context: {
        ipContext: {
          srcIpAddrs: ['10.0.0.1/32', '10.1.0.9/24'],
          dstIpAddrs: ['10.0.0.2/32'],
          policies: from.map((one) => ({ from: one })),
        },
      },
    })
  await liveness(ping, 1_000)(background(), of('10.0.0.1/32', '10.1.0.9/24'))
  t.same(asked, ['10.0.0.1'], 'the first one is tested in any case')
  await liveness(ping, 1_000)(background(), of('10.0.0.1/32'))
  t.same(asked, ['10.0.0.1', '10.0.0.1', '10.1.0.9'])
})

t.test('what cannot be tested is alive', async (t) => {
  const never: Ping = async () => {
    throw new Error('nothing to ask')
  }
  const check = liveness(never, 1_000)
  t.equal(await check(background(), conn([], [])), true)
  t.equal(await check(background(), conn(['10.0.0.1/32'], ['fd00::2/128'])), true)
  t.equal(await check(background(), conn(['10.0.0.1/32'], ['10.0.0.2/32'], 'MEMIF')), true)
  t.equal(await check(background(), conn(['nonsense'], ['10.0.0.2/32'])), true)
})

t.test('a late reply counts; echoes that cannot be sent do not', async (t) => {
  let count = 0
  const lastOnly: Ping = async () => (++count === 4 ? 0.1 : undefined)
  t.equal(await liveness(lastOnly, 1_000)(background({ clock: instant() }), pair), true)
  t.equal(count, 4)
  const broken = (code: string): [Ping, string[]] => {
    const asked: string[] = []
    const ping: Ping = async (source) => {
      asked.push(source)
      throw Object.assign(new Error(code), { code })
    }
    return [ping, asked]
  }
  const [crowded, tries] = broken('ENOBUFS')
  t.equal(await liveness(crowded, 1_000)(background({ clock: instant() }), pair), false)
  t.equal(tries.length, 4)
  const clock = handClock()
  const [gone, once] = broken('ENODEV')
  t.equal(await liveness(gone, 1_000)(background({ clock }), pair), false, 'without a wait')
  t.equal(once.length, 1)
  await settled()
  t.equal(clock.pending, 0)
})

t.test('a peer whose round trip is known gets less time', async (t) => {
  const waits: number[] = []
  let replies = true
  const ping: Ping = async (_source, _destination, timeoutMs) => {
    waits.push(timeoutMs)
    return replies ? 0.1 : undefined
  }
  const check = liveness(ping, 1_000)
  const ctx = background({ clock: instant() })
  await check(ctx, pair)
  t.equal(waits[0], 1_000)
  replies = false
  waits.length = 0
  t.equal(await check(ctx, pair), false)
  t.same(waits, [200, 175, 150, 125, 300, 262.5, 225, 187.5], 'and a second try')

  waits.length = 0
  const path = { index: 0, pathSegments: [{ id: 'a' }, { id: 'b' }] }
  t.equal(await check(ctx, Connection.fromPartial({ ...pair, path })), false)
  t.equal(waits[0], 1_000, 'another link is not known')
})

t.test('ends with its context, and leaves no timer', async (t) => {
  const clock = handClock()
  const stop = new AbortController()
  const hanging: Ping = async () => undefined
  const result = liveness(hanging, 1_000)(background({ clock, signal: stop.signal }), pair)
  await settled()
  t.equal(clock.pending, 3)
  stop.abort(new Error('enough'))
  await t.rejects(result, /enough/)
  t.equal(clock.pending, 0)
  t.equal(await liveness(answering, 1_000)(background({ clock }), pair), true)
  t.equal(clock.pending, 0)
})

/** A clock on which every wait is over at once. */
function instant(): ReturnType<typeof handClock> {
  const clock = handClock()
  return {
    ...clock,
    pending: 0,
    after: (_ms, run) => {
      const immediate = setImmediate(run)
      return () => clearImmediate(immediate)
    },
  }
}

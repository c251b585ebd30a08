import { connectionEvents, type ConnectionEvents } from '@nsm/agent/status/connection-events.js'
import type { SidecarConnection } from '@nsm/agent/status/sidecar-status.js'
import t from 'tap'
import { handClock, type HandClock } from '../../kit/clock.ts'

const start = 1_800_000_000_000

interface Seen {
  readonly clock: HandClock
  readonly events: ConnectionEvents
  /** What was told since the last time this was read. */
  told(): readonly string[]
  /** Sees the connection now; `since` is when the state began, by default now. */
  see(state: string, reason: string, more?: Partial<SidecarConnection>): void
}

function pod(): Seen {
  const clock = handClock(start)
  let lines: string[] = []
  const events = connectionEvents({
    clock,
    startedAtMs: start,
    tell: ({ type, reason, message }) => void lines.push(`${type} ${reason} ${message}`),
  })
  return {
    clock,
    events,
    told() {
      const now = lines
      lines = []
      return now
    },
    see: (state, reason, more = {}) =>
      events.see({
        id: 'pod-0',
        networkService: 'db',
        state,
        reason,
        message: 'why',
        sinceMs: clock.now(),
        interface: 'nsm-1',
        endpoint: 'postgres-0',
        addresses: ['172.16.0.1/32'],
        lastHeal: undefined,
        ...more,
      }),
  }
}

const connected = 'Normal NetworkServiceConnected db: nsm-1 is connected to postgres-0, 172.16.0.1/32'
const lostFor = (cause: string, ms: number): Partial<SidecarConnection> => ({ lastHeal: { cause, ms } })

t.test('a connection that comes up is told once, refreshes are not', async (t) => {
  const { see, told, clock } = pod()
  see('CONNECTING', 'Requested')
  t.same(told(), [])
  see('UP', 'Established')
  t.same(told(), [connected])
  const sinceMs = clock.now()
  clock.advance(60_000)
  see('UP', 'Established', { sinceMs, message: 'refreshed' })
  t.same(told(), [])
})

t.test('what was up before this process began has been told', async (t) => {
  const { see, told } = pod()
  see('UP', 'Established', { sinceMs: start - 1 })
  t.same(told(), [])
})

t.test('a refused request is told when it lasts, its changing words now and then', async (t) => {
  const { see, told, clock } = pod()
  const sinceMs = start
  see('CONNECTING', 'RequestFailed', { sinceMs, message: 'no endpoint' })
  clock.advance(2_999)
  see('CONNECTING', 'RequestFailed', { sinceMs, message: 'no endpoint at all' })
  t.same(told(), [])
  clock.advance(1)
  t.same(told(), ['Warning NetworkServiceFailed db: RequestFailed: no endpoint at all'], 'the newest words')
  for (const message of ['a', 'b', 'c']) see('CONNECTING', 'RequestFailed', { sinceMs, message })
  clock.advance(29_999)
  t.same(told(), [])
  clock.advance(1)
  t.same(told(), ['Warning NetworkServiceFailed db: RequestFailed: c'])
  see('UP', 'Established')
  t.same(told(), [connected])
  t.equal(clock.pending, 0)
})

t.test('a failure that stays as it is is told each half hour, as long as it lasts', async (t) => {
  const { see, told, clock } = pod()
  const sinceMs = start
  const line = 'Warning NetworkServiceFailed db: RequestFailed: no endpoint'
  see('CONNECTING', 'RequestFailed', { sinceMs, message: 'no endpoint' })
  clock.advance(3_000)
  t.same(told(), [line])
  for (let minute = 0; minute < 120; minute++) {
    clock.advance(60_000)
    see('CONNECTING', 'RequestFailed', { sinceMs, message: 'no endpoint' })
  }
  t.same(told(), [line, line, line, line])
  see('HEALING', 'DataPlaneLost')
  told()
  clock.advance(3_600_000)
  t.same(told().length, 2, 'also when its sidecar says nothing more')
  see('UP', 'Established')
  told()
  clock.advance(3_600_000)
  t.same(told(), [])
  t.equal(clock.pending, 0)
})

t.test('words that go on changing are told ever more rarely', async (t) => {
  const { see, told, clock } = pod()
  const say = (n: number): void => see('CONNECTING', 'RequestFailed', { sinceMs: start, message: String(n) })
  const during = (ms: number): number => {
    for (let n = 0; n < ms / 5_000; n++) {
      say(clock.now())
      clock.advance(5_000)
    }
    return told().length
  }
  t.equal(during(600_000), 5, 'after 3 s, then after 30 s, 1, 2, 4 min')
  during(600_000)
  t.ok(during(86_400_000) <= 145, 'each ten minutes')
  see('UP', 'Established')
  told()
  t.equal(during(60_000), 2, 'and at the usual pace after it was up')
})

t.test('what was told of a sidecar that has begun anew is not told again for it', async (t) => {
  const { see, told, clock } = pod()
  see('CONNECTING', 'RequestFailed')
  clock.advance(3_000)
  told()
  see('CONNECTING', 'Requested')
  clock.advance(3_600_000)
  t.same(told(), [])
  t.equal(clock.pending, 0)
})

t.test('a request that is refused only for a moment is not told', async (t) => {
  const { see, told, clock } = pod()
  see('CONNECTING', 'RequestFailed')
  clock.advance(1_000)
  see('UP', 'Established')
  clock.advance(60_000)
  t.same(told(), [connected])
})

t.test('lost packets are told at once, and so is their return', async (t) => {
  const { see, told, clock } = pod()
  see('UP', 'Established')
  told()
  clock.advance(1_000)
  see('HEALING', 'DataPlaneLost', { message: 'packets do not pass' })
  t.same(told(), ['Warning NetworkServiceFailed db: DataPlaneLost: packets do not pass'])
  clock.advance(400)
  see('UP', 'Healed', { endpoint: 'postgres-1', ...lostFor('DataPlaneLost', 400.2) })
  t.same(told(), [
    'Normal NetworkServiceHealed db: nsm-1 is connected to postgres-1, 172.16.0.1/32, after DataPlaneLost for 400 ms',
  ])
})

t.test('a heal that was not seen is told all the same', async (t) => {
  const { see, told, clock } = pod()
  see('UP', 'Established')
  told()
  clock.advance(5_000)
  see('UP', 'Healed', lostFor('DataPlaneLost', 300))
  t.match(told(), [/^Normal NetworkServiceHealed .* after DataPlaneLost for 300 ms$/])
})

t.test('a manager that is restarted is not worth an event, one that stays away is', async (t) => {
  const { see, told, clock } = pod()
  see('UP', 'Established')
  told()
  see('HEALING', 'ControlPlaneLost')
  clock.advance(9_000)
  see('UP', 'Healed', lostFor('ControlPlaneLost', 9_000))
  t.same(told(), [])
  clock.advance(1_000)
  see('HEALING', 'ControlPlaneLost')
  clock.advance(10_000)
  t.same(told(), ['Warning NetworkServiceFailed db: ControlPlaneLost: why'])
  see('UP', 'Healed', lostFor('ControlPlaneLost', 10_000))
  t.match(told(), [/^Normal NetworkServiceHealed/])
})

t.test('another endpoint is told, however quickly it was found', async (t) => {
  const { see, told, clock } = pod()
  see('UP', 'Established')
  told()
  see('HEALING', 'ControlPlaneLost')
  clock.advance(300)
  see('UP', 'Healed', { endpoint: 'postgres-1', ...lostFor('ControlPlaneLost', 300) })
  t.match(told(), [
    /^Normal NetworkServiceHealed db: nsm-1 is connected to postgres-1, .* after ControlPlaneLost/,
  ])
})

t.test('worse news does not wait for the news that was about to be told', async (t) => {
  const { see, told, clock } = pod()
  see('UP', 'Established')
  told()
  see('HEALING', 'ControlPlaneLost')
  clock.advance(1_000)
  see('HEALING', 'DataPlaneLost')
  t.same(told(), ['Warning NetworkServiceFailed db: DataPlaneLost: why'])
  clock.advance(60_000)
  t.same(told(), [])
})

t.test('a pod cannot fill the cluster with events', async (t) => {
  const { see, told, clock } = pod()
  for (let n = 0; n < 1_000; n++) {
    see('HEALING', 'DataPlaneLost', { message: String(n) })
    see('UP', 'Healed', lostFor('DataPlaneLost', n))
  }
  t.equal(told().length, 20)
  clock.advance(60_000)
  for (let n = 0; n < 1_000; n++) see('UP', 'Established', { sinceMs: n })
  t.equal(told().length, 4)
})

t.test('a connection that is there no more is forgotten', async (t) => {
  const { see, told, clock, events } = pod()
  see('UP', 'Established')
  see('CONNECTING', 'RequestFailed', { id: 'pod-1' })
  told()
  events.only(new Set(['pod-0']))
  clock.advance(60_000)
  see('UP', 'Established', { sinceMs: start })
  t.same(told(), [])
  t.equal(clock.pending, 0)
  see('UP', 'Established', { id: 'pod-1' })
  t.same(told(), [connected])
})

t.test('nothing is told after the end of the pod', async (t) => {
  const { see, told, clock, events } = pod()
  see('CONNECTING', 'RequestFailed')
  events.close()
  clock.advance(60_000)
  see('HEALING', 'ControlPlaneLost')
  see('CLOSED', 'Closed')
  clock.advance(60_000)
  t.same(told(), [])
  t.equal(clock.pending, 0)
})

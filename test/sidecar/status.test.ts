import { Connection } from '@nsm/api/gen/connection.js'
import {
  carriesPackets,
  reduce,
  requested,
  type ConnectionStatus,
  type StatusEvent,
} from '@nsm/sidecar/status.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import { generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import t from 'tap'

const start = Date.parse('2026-01-01T00:00:00Z')
const fresh = requested({ id: 'db-0', networkService: 'db', labels: { app: 'x' } }, start)
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const token = signEs256({ sub: 'spiffe://k8s.nsm/ns/a/pod/b', aud: ['x'], exp: 1 }, privateKey)

const connection = Connection.fromPartial({
  id: 'db-0',
  networkService: 'db',
  networkServiceEndpointName: 'db-server-1',
  mechanism: { type: 'KERNEL', cls: 'LOCAL', parameters: { name: 'nsm-1' } },
  payload: 'ETHERNET',
  context: {
    ipContext: {
      srcIpAddrs: ['172.16.1.101/32'],
      dstIpAddrs: ['172.16.1.100/32'],
      srcRoutes: [{ prefix: '172.16.1.100/32' }, { prefix: '10.0.0.0/8', nextHop: '172.16.1.100' }],
    },
    dnsContext: { configs: [{ dnsServerIps: ['172.16.1.100'], searchDomains: ['db.test'] }] },
    MTU: 1450,
  },
  path: {
    index: 0,
    pathSegments: [
      { name: 'db', id: 'db-0', token, expires: new Date(start + 600_000) },
      { name: 'nsmgr', id: 'x', token: 'garbage', expires: new Date(start + 300_000), metrics: { a: 'b' } },
      { name: 'late', id: 'y', token: '' },
    ],
  },
})
const established: StatusEvent = { type: 'established', id: 'db-0', connection, ms: 12.3456 }

t.test('from the wish to the connection', async (t) => {
  t.match(fresh, {
    state: 'CONNECTING',
    reason: 'Requested',
    since: '2026-01-01T00:00:00.000Z',
    interface: null,
  })
  const failed = reduce(fresh, { type: 'failed', id: 'db-0', error: 'no endpoint' }, start + 1_000)
  t.match(failed, {
    state: 'CONNECTING',
    reason: 'RequestFailed',
    message: 'last request failed: no endpoint',
    since: fresh.since,
    requests: { succeeded: 0, failed: 1 },
  })
  const up = reduce(failed, established, start + 2_000)
  t.match(up, {
    state: 'UP',
    reason: 'Established',
    message: 'nsm-1 to db-server-1',
    since: '2026-01-01T00:00:02.000Z',
    labels: { app: 'x' },
    endpoint: 'db-server-1',
    interface: 'nsm-1',
    mechanism: 'KERNEL',
    addresses: ['172.16.1.101/32'],
    endpointAddresses: ['172.16.1.100/32'],
    routes: [
      { prefix: '172.16.1.100/32', nextHop: null },
      { prefix: '10.0.0.0/8', nextHop: '172.16.1.100' },
    ],
    dns: [{ servers: ['172.16.1.100'], searchDomains: ['db.test'] }],
    mtu: 1450,
    expires: '2026-01-01T00:05:00.000Z',
    requestMs: 12.35,
    path: [
      { name: 'db', spiffeId: 'spiffe://k8s.nsm/ns/a/pod/b' },
      { name: 'nsmgr', spiffeId: null, metrics: { a: 'b' } },
      { name: 'late', spiffeId: null, expires: null },
    ],
    requests: { succeeded: 1, failed: 1 },
  })
  t.equal(fresh.state, 'CONNECTING', 'nothing is changed in place')
})

t.test('each hop has its own share of the time, where it and the next one tell theirs', async (t) => {
  const shares = (...told: readonly (string | undefined)[]) => {
    const pathSegments = told.map((ms) => ({ metrics: ms === undefined ? {} : { nsm_request_ms: ms } }))
    const timed = Connection.fromPartial({ id: 'db-0', path: { pathSegments } })
    return reduce(fresh, { ...established, connection: timed }, start).path.map(({ ms }) => ms)
  }
  t.strictSame(shares(undefined, '9.25', '4', '1.5'), [3.1, 5.25, 2.5, 1.5])
  t.strictSame(shares(undefined, '9.25', undefined, '1.5'), [3.1, null, null, 1.5])
  t.strictSame(shares(undefined, '99', 'soon'), [0, null, null], 'clocks differ, texts are anything')
  const { path } = reduce(fresh, { type: 'resumed', id: 'db-0', connection }, start)
  t.strictSame(
    path.map(({ ms }) => ms),
    [null, null, null],
    'those of an earlier Request are not told',
  )
})

t.test('refresh, loss, heal, close', async (t) => {
  const up = reduce(fresh, established, start)
  const refreshed = reduce(up, { ...established, ms: 3 }, start + 60_000)
  t.match(refreshed, {
    state: 'UP',
    reason: 'Established',
    since: up.since,
    requestMs: 3,
    requests: { succeeded: 2 },
  })

  const shaken = reduce(refreshed, { type: 'lost', id: 'db-0', cause: 'ControlPlaneLost' }, start + 70_000)
  t.match(shaken, { state: 'HEALING', reason: 'ControlPlaneLost' })
  t.ok(carriesPackets(shaken), 'packets pass all the same')
  const dead = reduce(shaken, { type: 'lost', id: 'db-0', cause: 'DataPlaneLost' }, start + 70_100)
  t.match(dead, { state: 'HEALING', reason: 'DataPlaneLost', since: shaken.since })
  t.notOk(carriesPackets(dead))
  const failing = reduce(dead, { type: 'failed', id: 'db-0', error: 'refused' }, start + 70_200)
  t.match(failing, { state: 'HEALING', reason: 'DataPlaneLost', message: 'last request failed: refused' })
  const healed = reduce(failing, established, start + 70_350)
  t.match(healed, {
    state: 'UP',
    reason: 'Healed',
    heals: { count: 1, last: { at: shaken.since, cause: 'DataPlaneLost', ms: 350 } },
  })

  const closed = reduce(healed, { type: 'closed', id: 'db-0' }, start + 80_000)
  t.match(closed, { state: 'CLOSED', reason: 'Closed' })
  t.equal(reduce(closed, established, start + 90_000).state, 'CLOSED', 'a late answer changes nothing')
})

t.test('what is found after a restart is shown, but is not up before it has been asked for', async (t) => {
  const resumed = reduce(fresh, { type: 'resumed', id: 'db-0', connection }, start)
  t.match(resumed, { state: 'CONNECTING', reason: 'Resumed', interface: 'nsm-1', endpoint: 'db-server-1' })
  t.notOk(carriesPackets(resumed))
})

t.test('property: any events, in any order, from any peer', async () => {
  const date = fc.date({ noInvalidDate: false })
  const anyConnection = fc
    .record({ text: fc.string(), expires: date, mtu: fc.nat() })
    .map(({ text, expires, mtu }) =>
      Connection.fromPartial({
        networkServiceEndpointName: text,
        path: { index: 0, pathSegments: [{ name: text, token: text, expires }] },
        context: { MTU: mtu, ipContext: { srcIpAddrs: [text] } },
      }),
    )
  const event: fc.Arbitrary<StatusEvent> = fc.oneof(
    fc.record({
      type: fc.constant('established' as const),
      id: fc.constant('db-0'),
      connection: anyConnection,
      ms: fc.double(),
    }),
    fc.record({ type: fc.constant('resumed' as const), id: fc.constant('db-0'), connection: anyConnection }),
    fc.record({ type: fc.constant('failed' as const), id: fc.constant('db-0'), error: fc.string() }),
    fc.record({
      type: fc.constant('lost' as const),
      id: fc.constant('db-0'),
      cause: fc.constantFrom('ControlPlaneLost' as const, 'DataPlaneLost' as const),
    }),
    fc.record({ type: fc.constant('closed' as const), id: fc.constant('db-0') }),
  )
  fc.assert(
    fc.property(fc.array(event, { maxLength: 20 }), (events) => {
      const end = events.reduce<ConnectionStatus>((status, one, i) => reduce(status, one, start + i), fresh)
      const successes = events.filter(({ type }) => type === 'established').length
      return (
        end.requests.succeeded === successes && end.networkService !== undefined && JSON.stringify(end) !== ''
      )
    }),
  )
})

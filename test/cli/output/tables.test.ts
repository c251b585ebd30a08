import { age } from '@nsm/cli/output/age.js'
import { connectionsTable, pathsText } from '@nsm/cli/output/connections.js'
import { outcomesText, podsTable } from '@nsm/cli/output/objects.js'
import { table } from '@nsm/cli/output/table.js'
import t from 'tap'

t.test('columns are as wide as their widest cell', async (t) => {
  t.equal(table(['A', 'LONG', 'C'], [['aaa', 'b', 'c'], ['a']]), 'A     LONG   C\naaa   b      c\na\n')
})

t.test('ages are short', async (t) => {
  const seconds = [0, 119, 120, 7_199, 7_200, 172_799, 172_800, -5]
  t.strictSame(
    seconds.map((s) => age(s * 1_000)),
    ['0s', '119s', '2m', '119m', '2h', '47h', '2d', '0s'],
  )
})

const about = { namespace: 'n', pod: 'p', node: 'node-1', error: '' }
const connection = {
  id: 'c-0',
  networkService: 'svc',
  state: 'UP',
  since: '2026-01-01T00:00:00.000Z',
  interface: 'nsm-1',
  addresses: ['172.16.1.101/32', 'fd00::1/128'],
  endpointAddresses: ['172.16.1.100/32'],
  endpoint: 'nse',
  message: 'fine',
  path: [
    { name: 'p', ms: 12.34, spiffeId: 'spiffe://td/ns/n/pod/p' },
    { name: 'nsmgr', ms: null, spiffeId: null },
  ],
}
const nowMs = Date.parse('2026-01-01T00:00:10.000Z')

t.test('a connection is one row', async (t) => {
  const text = connectionsTable([{ ...about, status: { connections: [connection] } }], nowMs)
  t.match(text, /^n +p +svc +UP +10s +nsm-1 +172\.16\.1\.101\/32,fd00::1\/128 +172\.16\.1\.100\/32 +nse$/m)
  t.match(
    pathsText([{ ...about, status: { connections: [connection] } }]),
    /Path of c-0:\n {2}HOP +TIME +SPIFFE ID\n {2}p +12\.3 ms +spiffe:\/\/td\/ns\/n\/pod\/p\n {2}nsmgr +- +-\n/,
  )
})

t.test('what is wrong is told in the row, whatever the answer looks like', async (t) => {
  const waiting = {
    ...connection,
    state: 'CONNECTING',
    interface: null,
    addresses: [],
    reason: 'RequestFailed',
    message: 'no forwarder',
  }
  t.match(
    connectionsTable([{ ...about, status: { connections: [waiting] } }], nowMs),
    /CONNECTING .* RequestFailed: no forwarder$/m,
  )
  t.match(
    connectionsTable([{ ...about, status: undefined, error: 'sidecar: starting' }], nowMs),
    /p .* sidecar: starting/,
  )
  for (const status of [null, [], { connections: 'x' }, { connections: [1] }, 'text'])
    t.match(connectionsTable([{ ...about, status }], nowMs), /no connections yet/)
})

t.test('pods count what lasts', async (t) => {
  const container = { message: '', reason: '', started: true, state: 'running' as const, restarts: 1 }
  const text = podsTable(
    [
      {
        namespace: 'n',
        name: 'p',
        uid: 'u',
        node: 'node-1',
        ip: '10.244.0.2',
        phase: 'Running',
        message: 'c: not ready',
        ready: false,
        startedAtMs: nowMs - 5_000,
        containers: [
          { ...container, name: 'i', kind: 'init', ready: false },
          { ...container, name: 's', kind: 'sidecar', ready: true },
          { ...container, name: 'c', kind: 'main', ready: false },
        ],
      },
    ],
    nowMs,
  )
  t.match(text, /^n +p +1\/2 +Running +3 +5s +10\.244\.0\.2 +node-1 +c: not ready$/m)
})

t.test('a pod that waits for its sidecar leads to the status', async (t) => {
  const sidecar = { message: '', reason: '', started: false, state: 'running' as const, restarts: 0 }
  const text = podsTable(
    [
      {
        ...{ namespace: 'n', name: 'p', uid: 'u', node: 'node-1', ip: '10.244.0.2', phase: 'Pending' },
        ...{ message: 'sidecar: starting', ready: false, startedAtMs: nowMs },
        containers: [{ ...sidecar, name: 'sidecar', kind: 'sidecar', ready: false }],
      },
    ],
    nowMs,
  )
  t.match(text, /sidecar: starting, see `nsm status p`$/m)
})

t.test('outcomes are one line each', async (t) => {
  t.equal(
    outcomesText([
      { object: 'pod a/b', result: 'created', message: '' },
      { object: 'pod a/c', result: 'failed', message: 'why' },
    ]),
    'pod a/b created\npod a/c failed: why\n',
  )
})

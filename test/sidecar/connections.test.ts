import type { Connection } from '@nsm/api/gen/connection.js'
import { parseNsUrls } from '@nsm/api/nsurl.js'
import type { Element } from '@nsm/sdk/chain.js'
import { clientChain, type ClientChain } from '@nsm/sdk/chains/client.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { closeAll, connectAll, plan, type ConnectionsOptions } from '@nsm/sidecar/connections.js'
import { reportStatus, tellingDial } from '@nsm/sidecar/report-status.js'
import type { ConnectionStatus } from '@nsm/sidecar/status.js'
import { statusBoard, type StatusBoard } from '@nsm/sidecar/status-board.js'
import t, { type Test } from 'tap'
import { mesh, type Mesh } from '../kit/mesh.js'
import { until } from '../kit/until.js'

const planned = plan('pod', parseNsUrls('kernel://db/nsm-1?app=x,kernel://web'))

interface Sidecar {
  readonly options: ConnectionsOptions
  readonly board: StatusBoard
  readonly chain: ClientChain
  readonly ctx: Ctx
  readonly stop: AbortController
  readonly of: (id: string) => ConnectionStatus
}

function sidecar(t: Test, world: Mesh, options: Partial<ConnectionsOptions> = {}): Sidecar {
  const board = statusBoard({ name: 'pod', spiffeId: () => null }, planned, systemClock)
  const dial = tellingDial(world.network.dial(world.ca.svid('/ns/a/pod/pod'), world.tokens), board)
  const chain = clientChain({
    name: 'pod',
    dial,
    url: 'mem://nsmgr',
    refresh: true,
    authorize: true,
    heal: {
      lost: ({ id }, loss) =>
        board.apply({
          type: 'lost',
          id,
          cause: loss === 'data plane' ? 'DataPlaneLost' : 'ControlPlaneLost',
        }),
      ...(options.liveness === undefined ? {} : { liveness: options.liveness }),
    },
    elements: [reportStatus(board), kernelClient({ netnsUrl: 'file:///proc/thread-self/ns/net' })],
  })
  const stop = new AbortController()
  t.teardown(() => {
    stop.abort()
    chain.stop()
  })
  return {
    options: {
      service: chain,
      dial,
      url: 'mem://nsmgr',
      board,
      requestTimeoutMs: 5_000,
      liveness: undefined,
      ...options,
    },
    board,
    chain,
    ctx: background({ signal: stop.signal }),
    stop,
    of: (id) => board.read().connections.find((one) => one.id === id) ?? (t.fail(`no ${id}`) as never),
  }
}

/** Serves as an endpoint does, and remembers what it was asked. */
function endpoint(): { element: Element; asked: Connection[]; closed: string[]; refuses: number } {
  const state = { asked: [] as Connection[], closed: [] as string[], refuses: 0 }
  const element: Element = {
    name: 'endpoint',
    request: async (ctx, req, next) => {
      const conn = await next.request(ctx, req)
      state.asked.push(conn)
      if (state.refuses-- > 0) throw new NsmError('UNAVAILABLE', 'no endpoint yet')
      return {
        ...conn,
        mechanism: conn.mechanism ?? req.mechanismPreferences[0],
        networkServiceEndpointName: 'server',
      }
    },
    close: async (ctx, conn, next) => {
      state.closed.push(conn.networkService)
      await next.close(ctx, conn)
    },
  }
  return Object.assign(state, { element })
}

t.test('the start waits for all, or for those that are named', async (t) => {
  const urls = parseNsUrls('kernel://db/nsm-1,kernel://web')
  const required = (text?: string): readonly boolean[] =>
    plan('pod', urls, text).map(({ isRequired }) => isRequired)
  t.same(required(), [true, true])
  t.same(required('false'), [false, false])
  t.same(required('nsm-1'), [true, false])
  t.throws(() => plan('pod', urls, 'wep'), {
    code: 'INVALID_ARGUMENT',
    message: 'NSM_REQUIRED must be true, false or a list of names out of db, nsm-1, web, not "wep"',
  })
})

t.test('all are requested with their own ids, labels and names, and closed', async (t) => {
  const world = await mesh(t)
  const served = endpoint()
  world.hop('nsmgr', undefined, { elements: [served.element] })
  const { ctx, options, board } = sidecar(t, world)
  await connectAll(ctx, planned, options)
  t.match(board.read(), {
    ready: true,
    connections: [
      { id: 'pod-0', state: 'UP', interface: 'nsm-1', endpoint: 'server', labels: { app: 'x' } },
      { id: 'pod-1', state: 'UP', interface: /^web-.{11}$/ },
    ],
  })
  t.match(served.asked.map(({ networkService }) => networkService).toSorted(), ['db', 'web'])
  t.match(
    served.asked.find(({ networkService }) => networkService === 'db'),
    { labels: { app: 'x' }, path: { pathSegments: [{ name: 'pod', id: 'pod-0' }, { name: 'nsmgr' }] } },
  )
  await closeAll(ctx, planned, options)
  t.same(served.closed.toSorted(), ['db', 'web'])
  t.match(board.read().connections, [{ state: 'CLOSED' }, { state: 'CLOSED' }])
})

t.test('tried until it succeeds: a manager that comes later, an endpoint that comes later', async (t) => {
  const world = await mesh(t)
  const served = endpoint()
  served.refuses = 2
  const { ctx, options, of } = sidecar(t, world)
  const connecting = connectAll(ctx, planned, options)
  await until('the first try has failed', () => of('pod-0').reason === 'RequestFailed')
  world.hop('nsmgr', undefined, { elements: [served.element] })
  await until('the manager has refused', () => /no endpoint yet/.test(of('pod-0').message))
  await until('both are up', () => of('pod-0').state === 'UP' && of('pod-1').state === 'UP')
  await connecting
  t.match([of('pod-0').state, of('pod-1').state], ['UP', 'UP'])
})

t.test('a restart goes on with what the manager still has', async (t) => {
  const world = await mesh(t)
  const served = endpoint()
  world.hop('nsmgr', undefined, { elements: [served.element] })
  const before = sidecar(t, world)
  await connectAll(before.ctx, planned, before.options)
  before.stop.abort()
  before.chain.stop()
  const ids = new Set(served.asked.map(({ id }) => id))

  const after = sidecar(t, world)
  await connectAll(after.ctx, planned, after.options)
  t.match(
    after.board
      .recent()
      .map(({ type }) => type)
      .toSorted(),
    ['established', 'established', 'resumed', 'resumed'],
  )
  t.equal(new Set(served.asked.map(({ id }) => id)).size, ids.size, 'no new connections at the manager')
  t.match(
    served.asked
      .slice(2)
      .map(({ mechanism, networkServiceEndpointName }) => ({ mechanism, networkServiceEndpointName })),
    [
      { mechanism: { type: 'KERNEL' }, networkServiceEndpointName: 'server' },
      { mechanism: { type: 'KERNEL' }, networkServiceEndpointName: 'server' },
    ],
  )
})

t.test('what cannot be gone on with is asked of any endpoint, in place of the old', async (t) => {
  const world = await mesh(t)
  const served = endpoint()
  world.hop('nsmgr', undefined, { elements: [served.element] })
  const before = sidecar(t, world)
  await connectAll(before.ctx, planned, before.options)
  before.stop.abort()
  before.chain.stop()
  served.asked.length = 0
  served.refuses = 2
  const after = sidecar(t, world)
  const connecting = connectAll(after.ctx, planned, after.options)
  await until('all are up', () => after.board.read().ready)
  await connecting
  t.equal(
    served.asked.filter(({ networkServiceEndpointName }) => networkServiceEndpointName === '').length,
    2,
  )
  t.equal(after.board.read().ready, true)
})

t.test('the manager dies and returns: healing says why, then it is healed', async (t) => {
  const world = await mesh(t)
  const served = endpoint()
  const manager = world.hop('nsmgr', undefined, { elements: [served.element] })
  const { ctx, options, of, board } = sidecar(t, world, { liveness: async () => true })
  await connectAll(ctx, planned, options)
  manager.kill()
  await until(
    'healing has failed once',
    () => of('pod-0').state === 'HEALING' && of('pod-0').requests.failed > 0,
  )
  t.match(of('pod-0'), { reason: 'ControlPlaneLost', message: /last request failed: .*nsmgr/ })
  t.equal(board.read().ready, true, 'packets pass')
  manager.start()
  await until('all are up again', () => board.read().connections.every(({ state }) => state === 'UP'))
  t.match(of('pod-0'), { reason: 'Healed', heals: { count: 1, last: { cause: 'ControlPlaneLost' } } })
})

t.test('stopping ends what is being tried', async (t) => {
  const world = await mesh(t)
  const { ctx, options, stop, of } = sidecar(t, world)
  const connecting = connectAll(ctx, planned, options)
  await until('the first try has failed', () => of('pod-0').requests.failed > 0)
  stop.abort(new Error('enough'))
  await t.rejects(connecting, /enough/)
  await closeAll(background(), planned, options)
})

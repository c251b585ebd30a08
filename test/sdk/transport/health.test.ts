import { HealthCheckResponse_ServingStatus as Status } from '@nsm/api/gen/health.js'
import { withCancel, background } from '@nsm/sdk/ctx.js'
import { health } from '@nsm/sdk/transport/health.js'
import t from 'tap'
import { ctxFor, transportPair } from '../../kit/transport.ts'

const service = 'networkservice.NetworkService'

t.test('a process and its services are serving until told otherwise', async (t) => {
  const state = health([service])
  const { dialer, url } = await transportPair(t, { services: { health: state } })
  const check = (name: string): Promise<Status> => dialer.checkHealth(ctxFor(5000), url, name)
  t.equal(await check(''), Status.SERVING)
  t.equal(await check(service), Status.SERVING)
  state.set('', Status.NOT_SERVING)
  t.equal(await check(''), Status.NOT_SERVING)
  await t.rejects(check('nobody'), { code: 'NOT_FOUND', message: /nobody/ })
})

t.test('a probe shows no token', async (t) => {
  const tokens = (): never => {
    throw new Error('asked for a token')
  }
  const { dialer, url } = await transportPair(t, { services: { health: health([]) }, client: { tokens } })
  t.equal(await dialer.checkHealth(ctxFor(5000), url, ''), Status.SERVING)
})

t.test('a watch tells each change once, and of services that come later', async (t) => {
  const state = health([])
  await withCancel(background(), async (ctx, cancel) => {
    const told = state.watch(ctx, service)[Symbol.asyncIterator]()
    t.same((await told.next()).value, { status: Status.SERVICE_UNKNOWN })
    const next = told.next()
    state.set('other', Status.SERVING)
    state.set(service, Status.SERVING)
    t.same((await next).value, { status: Status.SERVING })
    const last = told.next()
    cancel('enough')
    t.same(await last, { done: true, value: undefined })
  })
})

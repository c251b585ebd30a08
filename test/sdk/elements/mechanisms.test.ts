import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { mechanisms } from '@nsm/sdk/elements/mechanisms.js'
import { noopMechanism } from '@nsm/sdk/elements/noop-mechanism.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { recording } from '../../kit/elements.js'

const ctx = background()
const offering = (...types: string[]): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({
    connection: { id: 'a' },
    mechanismPreferences: types.map((type) => ({ cls: 'LOCAL', type, parameters: { from: 'client' } })),
  })
const failing: Element = {
  name: 'failing',
  request: async () => {
    throw new NsmError('UNAVAILABLE', 'no device')
  },
}

t.test('the first preference that is known is chosen', async (t) => {
  const conn = await chain([mechanisms({ KERNEL: { name: 'kernel' }, NOOP: noopMechanism })]).request(
    ctx,
    offering('MEMIF', 'NOOP', 'KERNEL'),
  )
  t.match(conn.mechanism, { type: 'NOOP', cls: 'LOCAL', parameters: { from: 'client' } })
})

t.test('one that fails makes room for the next; if none is left, all reasons are told', async (t) => {
  const service = chain([mechanisms({ KERNEL: failing, VXLAN: failing, NOOP: noopMechanism })])
  t.equal((await service.request(ctx, offering('KERNEL', 'NOOP'))).mechanism?.type, 'NOOP')
  await t.rejects(service.request(ctx, offering('KERNEL')), { code: 'UNAVAILABLE', message: 'no device' })
  await t.rejects(service.request(ctx, offering('KERNEL', 'VXLAN')), {
    code: 'UNAVAILABLE',
    message: /cannot support any of the requested mechanism: no device; no device/,
  })
})

t.test('a refresh looks only at the type that was chosen', async (t) => {
  const service = chain([mechanisms({ KERNEL: failing, NOOP: noopMechanism })])
  const refresh = (type: string): NetworkServiceRequest =>
    NetworkServiceRequest.fromPartial({ ...offering('NOOP'), connection: { id: 'a', mechanism: { type } } })
  await t.rejects(service.request(ctx, refresh('KERNEL')), { message: 'no device' })
  await t.rejects(service.request(ctx, refresh('MEMIF')), {
    code: 'INVALID_ARGUMENT',
    message: /unsupported mechanism "MEMIF"/,
  })
  t.equal((await service.request(ctx, refresh('NOOP'))).mechanism?.type, 'NOOP')
})

t.test('the hop tells its interface towards the client, on its own segment', async (t) => {
  const path = { index: 1, pathSegments: [{ name: 'client' }, { name: 'hop', metrics: { other: '1' } }] }
  const req = NetworkServiceRequest.fromPartial({
    connection: { id: 'a', path },
    mechanismPreferences: [{ type: 'NOOP', parameters: { name: 'nsm-1' } }],
  })
  const service = chain([mechanisms({ NOOP: noopMechanism })])
  const first = await service.request(ctx, req)
  t.same(
    first.path?.pathSegments.map(({ metrics }) => metrics),
    [{}, { other: '1', server_interface: 'NOOP/nsm-1' }],
  )
  t.same(await service.request(ctx, { ...req, connection: first }), first, 'a refresh says the same')
})

t.test('nothing that fits, odd names and endless lists are refused', async (t) => {
  const service = chain([mechanisms({ KERNEL: { name: 'kernel' } })])
  const refused = { code: 'INVALID_ARGUMENT', message: /cannot support any of the requested mechanism/ }
  await t.rejects(service.request(ctx, offering()), refused)
  await t.rejects(service.request(ctx, offering('constructor', '__proto__', 'kernel')), refused)
  await t.rejects(
    service.request(ctx, offering(...Array.from({ length: 10_000 }, () => 'MEMIF'), 'KERNEL')),
    refused,
  )
})

t.test('close goes to the element of the mechanism, and on when there is none', async (t) => {
  const kernel = recording()
  const rest = recording()
  const service = chain([mechanisms({ KERNEL: kernel.element }), rest.element])
  for (const type of ['KERNEL', 'MEMIF']) {
    const { connection } = NetworkServiceRequest.fromPartial({
      connection: { id: type, mechanism: { type } },
    })
    if (connection !== undefined) await service.close(ctx, connection)
  }
  t.same(
    kernel.closes.map(({ id }) => id),
    ['KERNEL'],
  )
  t.same(
    rest.closes.map(({ id }) => id),
    ['KERNEL', 'MEMIF'],
  )
})

import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { chain, connectionOf, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { mechanismTranslation } from '@nsm/sdk/elements/mechanism-translation.js'
import { metadata } from '@nsm/sdk/elements/metadata.js'
import t from 'tap'
import { recording } from '../../kit/elements.js'

const ctx = background()
const mechanism = { cls: 'LOCAL', type: 'KERNEL', parameters: { name: 'nsm-1' } }
const ask = (id = 'a'): NetworkServiceRequest =>
  NetworkServiceRequest.fromPartial({ connection: { id, mechanism }, mechanismPreferences: [mechanism] })

/** A next hop that chooses MEMIF, once. */
function choosing(): Element {
  return {
    name: 'choosing',
    async request(_ctx, req) {
      const conn = connectionOf(req)
      return {
        ...conn,
        mechanism: conn.mechanism ?? { cls: 'LOCAL', type: 'MEMIF', parameters: { socketfile: '@x' } },
      }
    },
  }
}

t.test('each side keeps its own mechanism', async (t) => {
  const seen = recording()
  const preferences: number[] = []
  const counting: Element = {
    name: 'counting',
    request(ctx, req, next) {
      preferences.push(req.mechanismPreferences.length)
      return next.request(ctx, req)
    },
  }
  const service = chain([metadata('client'), mechanismTranslation(), counting, seen.element, choosing()])
  const conn = await service.request(ctx, ask())
  t.match(conn.mechanism, mechanism)
  t.match((await service.request(ctx, ask())).mechanism, mechanism)
  t.same(
    seen.requests.map((request) => request.mechanism?.type),
    [undefined, 'MEMIF'],
  )
  t.same(preferences, [0, 0])

  await service.close(ctx, conn).catch(() => undefined)
  t.equal(seen.closes[0]?.mechanism?.type, 'MEMIF')
  await service.request(ctx, ask())
  t.equal(seen.requests[2]?.mechanism, undefined, 'nothing is remembered after close')
})

t.test('connections are not mixed up', async (t) => {
  const seen = recording()
  const service = chain([metadata('client'), mechanismTranslation(), seen.element, choosing()])
  await service.request(ctx, ask('a'))
  await service.request(ctx, ask('b'))
  t.equal(seen.requests[1]?.mechanism, undefined)
})

t.test('a close that does not get so far leaves nothing either', async (t) => {
  const seen = recording()
  let reached = true
  const dialling: Element = {
    name: 'dialling',
    close: async (ctx, conn, next) => {
      if (!reached) throw new Error('nobody is there')
      await next.close(ctx, conn)
    },
  }
  const service = chain([metadata('client'), dialling, mechanismTranslation(), seen.element, choosing()])
  const conn = await service.request(ctx, ask())
  reached = false
  await t.rejects(service.close(ctx, conn))
  await service.request(ctx, ask())
  t.equal(seen.requests[1]?.mechanism, undefined)
})

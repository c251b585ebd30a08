import { Connection } from '@nsm/api/gen/connection.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { begin } from '@nsm/sdk/elements/begin.js'
import { leaving } from '@nsm/sdk/elements/leaving.js'
import t from 'tap'
import { recording, refusing } from '../../kit/elements.ts'
import { until } from '../../kit/until.ts'

function server(...more: readonly Element[]) {
  const departure = leaving()
  const seen = recording()
  const service = chain([begin('server'), departure.element, seen.element, ...more])
  const request = (id: string) =>
    service.request(background(), { connection: Connection.fromPartial({ id }), mechanismPreferences: [] })
  return { departure, seen, service, request }
}

t.test('closes what is open, and nothing that its client has closed', async (t) => {
  const { departure, seen, service, request } = server()
  await Promise.all(['a', 'b', 'c'].map(request))
  await request('a')
  await service.close(background(), Connection.fromPartial({ id: 'b' }))
  t.equal(await departure.leave(), 2)
  t.same(seen.closes.map(({ id }) => id).sort(), ['a', 'b', 'c'])
  t.equal(await departure.leave(), 0)
})

t.test('takes no requests any more, also of connections that were open', async (t) => {
  const { departure, seen, request } = server()
  await request('a')
  await departure.leave()
  const refusal = { code: 'UNAVAILABLE', message: 'this process is being removed and takes no requests' }
  await t.rejects(request('a'), refusal)
  await t.rejects(request('b'), refusal)
  t.equal(seen.requests.length, 1)
})

t.test('a request that was under way is closed as soon as it is answered', async (t) => {
  let answer: () => void = () => undefined
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  const slow: Element = {
    name: 'slow',
    async request(ctx, req, next) {
      await answered
      return next.request(ctx, req)
    },
  }
  const { departure, seen, request } = server(slow)
  const asked = request('a')
  await until('it is under way', () => seen.requests.length === 1)
  t.equal(await departure.leave(), 0)
  answer()
  await asked
  await until('it is closed', () => seen.closes.length === 1)
})

t.test('a connection that cannot be closed keeps none of the others open', async (t) => {
  const refuse = refusing()
  refuse.state.on = false
  const { departure, request } = server(refuse.element)
  await Promise.all(['a', 'b'].map(request))
  refuse.state.on = true
  t.equal(await departure.leave(), 0)
  t.equal(refuse.state.closes, 2)
})

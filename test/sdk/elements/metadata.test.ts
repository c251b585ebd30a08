import { Connection } from '@nsm/api/gen/connection.js'
import { chain, type Element } from '@nsm/sdk/chain.js'
import { background, key } from '@nsm/sdk/ctx.js'
import { metadata, metadataOf } from '@nsm/sdk/elements/metadata.js'
import t from 'tap'
import { refusing } from '../../kit/elements.ts'

const count = key<number>('count')
const ctx = background()
const connOf = (id: string): Connection => Connection.fromPartial({ id })

/** Counts the calls of a connection, in its own metadata. */
function counting(half: 'server' | 'client', seen: (number | undefined)[]): Element {
  return {
    name: 'counting',
    request(ctx, req, next) {
      const store = metadataOf(ctx, half)
      seen.push(store.get(count))
      store.set(count, (store.get(count) ?? 0) + 1)
      return next.request(ctx, req)
    },
    close(ctx, conn, next) {
      seen.push(metadataOf(ctx, half).get(count))
      return next.close(ctx, conn)
    },
  }
}

t.test('lives from the first Request to Close, for each connection and half on its own', async (t) => {
  const server: (number | undefined)[] = []
  const client: (number | undefined)[] = []
  const service = chain([
    metadata('server'),
    metadata('client'),
    counting('server', server),
    counting('server', server),
    counting('client', client),
  ])
  const ask = (id: string) => service.request(ctx, { connection: connOf(id), mechanismPreferences: [] })
  await ask('a')
  await ask('a')
  await ask('b')
  await service.close(ctx, connOf('a'))
  await ask('a')
  t.same(server, [undefined, 1, 2, 3, undefined, 1, 4, 4, undefined, 1])
  t.same(client, [undefined, 1, undefined, 2, undefined])
})

t.test('what a first Request that fails has left is gone, what a refresh has left stays', async (t) => {
  const seen: (number | undefined)[] = []
  const { state, element } = refusing()
  const service = chain([metadata('server'), counting('server', seen), element])
  const ask = () => service.request(ctx, { connection: connOf('a'), mechanismPreferences: [] })
  await t.rejects(ask())
  state.on = false
  await ask()
  state.on = true
  await t.rejects(ask())
  await t.rejects(service.close(ctx, connOf('a')))
  await t.rejects(ask())
  t.same(seen, [undefined, undefined, 1, 2, undefined])
})

t.test('an element without metadata before it says so', async (t) => {
  const service = chain([metadata('client'), counting('server', [])])
  await t.rejects(service.request(ctx, { connection: connOf('a'), mechanismPreferences: [] }), {
    code: 'INTERNAL',
    message: /server metadata/,
  })
})

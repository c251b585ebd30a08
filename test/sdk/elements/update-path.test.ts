import { Connection, type PathSegment } from '@nsm/api/gen/connection.js'
import { chain, type NetworkService } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { pathLimits, updatePath } from '@nsm/sdk/elements/update-path.js'
import { NsmError } from '@nsm/sdk/errors.js'
import fc from 'fast-check'
import t from 'tap'
import { recording } from '../../kit/elements.ts'

const ctx = background()

function hop(name: string): { service: NetworkService; seen: Connection[]; closes: Connection[] } {
  let made = 0
  const { requests, closes, element } = recording()
  const newId = (): string => `${name}-id-${made++}`
  return { service: chain([updatePath(name, { newId }), element]), seen: requests, closes }
}

const conn = (id: string, index: number, ...segments: Partial<PathSegment>[]): Connection =>
  Connection.fromPartial({ id, path: { index, pathSegments: segments } })

const request = (service: NetworkService, connection: Connection) =>
  service.request(ctx, { connection, mechanismPreferences: [] })

const names = (found: Connection | undefined): string[] =>
  found?.path?.pathSegments.map(({ name, id }) => `${name}/${id}`) ?? []

t.test('without a segment the own one is the first, under the given id or a new one', async (t) => {
  const { service, seen } = hop('a')
  t.equal((await request(service, conn('mine', 0))).id, 'mine')
  t.same(names(seen[0]), ['a/mine'])
  const made = await request(service, Connection.fromPartial({}))
  t.same([made.id, made.path?.index], ['a-id-0', 0])
})

t.test('the own segment is used again as it is', async (t) => {
  const { service, seen } = hop('a')
  const answer = await request(service, conn('other', 0, { name: 'a', id: 'x' }))
  t.same([seen[0]?.id, seen[0]?.path?.index, answer.id, answer.path?.index], ['x', 0, 'x', 0])
})

t.test(
  'behind the caller a segment is appended, and the answer is under the caller’s id and index',
  async (t) => {
    const { service, seen } = hop('b')
    const answer = await request(service, conn('x', 0, { name: 'a', id: 'x' }))
    t.same(names(seen[0]), ['a/x', 'b/b-id-0'])
    t.same([seen[0]?.id, seen[0]?.path?.index], ['b-id-0', 1])
    t.same([answer.id, answer.path?.index], ['x', 0])
  },
)

t.test('a refresh keeps its segment, another hop’s is renamed and gets a new id', async (t) => {
  const { service, seen, closes } = hop('b')
  const path: Partial<PathSegment>[] = [
    { name: 'a', id: 'x' },
    { name: 'b', id: 'y' },
    { name: 'c', id: 'z' },
  ]
  await request(service, conn('x', 0, ...path))
  await request(service, conn('x', 0, path[0] ?? {}, { name: 'old', id: 'y' }, path[2] ?? {}))
  await service.close(ctx, conn('x', 0, ...path))
  t.same(names(seen[0]), ['a/x', 'b/y', 'c/z'])
  t.same(names(seen[1]), ['a/x', 'b/b-id-0', 'c/z'])
  t.same([closes[0]?.id, closes[0]?.path?.index], ['y', 1])
})

t.test('what does not fit is refused', async (t) => {
  const { service, seen } = hop('b')
  const bad = [
    conn('x', 1, { name: 'a', id: 'x' }),
    conn('x', 4_294_967_295, { name: 'a', id: 'x' }),
    conn('x', -1, { name: 'a', id: 'x' }),
    conn('x', 0.5, { name: 'a', id: 'x' }),
    conn('y', 0, { name: 'a', id: 'x' }),
    conn('', 0, { name: 'a', id: '' }),
    conn('x', 0, { name: 'a', id: 'x', token: 'é'.repeat(pathLimits.textBytes) }),
    conn('x'.repeat(20_000), 0),
  ]
  for (const one of bad) {
    await t.rejects(request(service, one), { code: 'INVALID_ARGUMENT' })
    await t.rejects(service.close(ctx, one), { code: 'INVALID_ARGUMENT' })
  }
  await t.rejects(service.request(ctx, { connection: undefined, mechanismPreferences: [] }), {
    code: 'INVALID_ARGUMENT',
  })
  t.equal(seen.length, 0)
})

const anySegment = fc.record({
  name: fc.constantFrom('', 'a', 'b', 'c'),
  id: fc.constantFrom('', 'x', 'y', '__proto__'),
  token: fc.string(),
})
const anyConnection = fc
  .record({
    id: fc.constantFrom('', 'x', 'y', '__proto__'),
    index: fc.oneof(fc.nat(6), fc.integer(), fc.double()),
    segments: fc.array(anySegment, { maxLength: 40 }),
  })
  .map(({ id, index, segments }) => conn(id, index, ...segments))

t.test('an own segment of an earlier pass that has no id gets one', async (t) => {
  const { service, seen } = hop('b')
  await request(service, conn('x', 0, { name: 'a', id: 'x' }, { name: 'b', id: '' }))
  t.same(names(seen[0]), ['a/x', 'b/b-id-0'])
  t.equal(seen[0]?.id, 'b-id-0')
})

t.test(
  'any path either is refused as such, or leads to a segment of this hop and back to the caller’s',
  async () => {
    await fc.assert(
      fc.asyncProperty(anyConnection, async (connection) => {
        const { service, seen } = hop('b')
        const before = JSON.stringify(connection)
        let answer: Connection
        try {
          answer = await request(service, connection)
        } catch (err) {
          return err instanceof NsmError && err.code === 'INVALID_ARGUMENT'
        }
        const [passed] = seen
        const own = passed?.path?.pathSegments[passed.path.index]
        const back = answer.path?.pathSegments[answer.path.index]
        const untouched = JSON.stringify(connection) === before
        return (
          own?.name === 'b' && own.id === passed?.id && own.id !== '' && back?.id === answer.id && untouched
        )
      }),
    )
  },
)

t.test('through any hops there and back, a refresh keeps every id', async () => {
  const chainOf = fc.array(fc.constantFrom('p', 'q', 'r'), { minLength: 1, maxLength: 10 })
  const noTwins = (list: string[]): boolean => list.every((name, i) => name !== list[i + 1])
  await fc.assert(
    fc.asyncProperty(chainOf.filter(noTwins), async (hops) => {
      const elements = hops.map((name) => updatePath(name))
      const service = chain([updatePath('client'), ...elements])
      const first = await request(service, conn('x', 0, { name: 'client', id: 'x' }))
      const second = await request(service, first)
      return first.id === 'x' && second.path?.index === 0 && names(first).join() === names(second).join()
    }),
  )
})

import { applyPatch, type Operation } from '@nsm/cli/manifest/json-patch.js'
import * as fc from 'fast-check'
import fastJsonPatch from 'fast-json-patch'
import t from 'tap'

// oxlint-disable-next-line import/no-named-as-default-member -- CommonJS without detectable names
const { compare } = fastJsonPatch

t.test(
  'turns any document into any other, by the differences that another implementation finds',
  async () => {
    const tree = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.integer(),
        fc.string(),
        fc.array(tie('node'), { maxLength: 4 }),
        fc.dictionary(fc.stringMatching(/^[a-z/~]{0,3}$/), tie('node'), { maxKeys: 4 }),
      ),
    })).node
    const objects = fc.dictionary(fc.stringMatching(/^[a-z/~]{0,3}$/), tree)
    fc.assert(
      fc.property(objects, objects, (before, after) => {
        const patch = compare(before, after) as Operation[]
        t.strictSame(applyPatch(before, patch), JSON.parse(JSON.stringify(after)))
      }),
      { numRuns: 200 },
    )
  },
)

t.test('the document given stays as it was', async (t) => {
  const document = { a: [1, 2] }
  t.strictSame(applyPatch(document, [{ op: 'add', path: '/a/0', value: 0 }]), { a: [0, 1, 2] })
  t.strictSame(document, { a: [1, 2] })
})

t.test('move, copy and test', async (t) => {
  const moved = applyPatch({ a: 1, b: [] }, [
    { op: 'test', path: '/a', value: 1 },
    { op: 'copy', from: '/a', path: '/b/-' },
    { op: 'move', from: '/a', path: '/c' },
  ])
  t.strictSame(moved, { b: [1], c: 1 })
})

t.test('what can not be done is refused with its number', async (t) => {
  const cases: readonly (readonly [Operation, RegExp])[] = [
    [{ op: 'test', path: '/a', value: 2 }, /operation 0 \(test \/a\): the value there is another one/],
    [{ op: 'add', path: '/x/y', value: 1 }, /there is no x/],
    [{ op: 'add', path: '/l/2', value: 1 }, /2 is no index of a list of 1/],
    [{ op: 'add', path: '/l/01', value: 1 }, /01 is no index/],
    [{ op: 'remove', path: '/__proto__' }, /there is no __proto__/],
    [{ op: 'remove', path: '' }, /whole document/],
    [{ op: 'replace', path: '/nope', value: 1 }, /there is no nope/],
    [{ op: 'dance', path: '/a' }, /unknown/],
    [{ op: 'add', path: 'a', value: 1 }, /no.? a? ?JSON pointer/],
  ]
  for (const [operation, message] of cases)
    t.throws(() => applyPatch({ a: 1, l: [0] }, [operation]), { code: 'INVALID_ARGUMENT', message })
})

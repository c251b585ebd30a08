import { decodeRegistryPath, emptyPath, encodeRegistryPath } from '@nsm/sdk/registry/registry-path.js'
import { NsmError } from '@nsm/sdk/errors.js'
import fc from 'fast-check'
import t from 'tap'

t.test('is written as Go writes it', (t) => {
  t.equal(encodeRegistryPath(emptyPath), '{"Index":0,"PathSegments":null}')
  const path = { index: 1, segments: [{ token: 'a.b.c' }, { token: 'd.e.f' }] }
  t.equal(encodeRegistryPath(path), '{"Index":1,"PathSegments":[{"token":"a.b.c"},{"token":"d.e.f"}]}')
  t.same(decodeRegistryPath(encodeRegistryPath(path)), path)
  t.end()
})

t.test('is read as Go reads it', (t) => {
  for (const text of ['{"Index":0,"PathSegments":null}', '{"Index":0,"PathSegments":[]}', '{}', ' { } '])
    t.same(decodeRegistryPath(text), emptyPath, text)
  t.same(decodeRegistryPath('{"index":1,"pathsegments":[{"Token":"a"},null],"more":{}}'), {
    index: 1,
    segments: [{ token: 'a' }, { token: '' }],
  })
  t.same(decodeRegistryPath('{"path_segments":[{"token":"a"}]}'), emptyPath)
  t.end()
})

t.test('what is no path is refused', (t) => {
  const bad = [
    '',
    'null',
    '[]',
    '1',
    '{"Index":0',
    '{"Index":1}',
    '{"Index":-1,"PathSegments":[{}]}',
    '{"Index":0.5,"PathSegments":[{}]}',
    '{"Index":"0"}',
    '{"Index":4294967295,"PathSegments":[{"token":"a"}]}',
    '{"PathSegments":{}}',
    '{"PathSegments":["a"]}',
    '{"PathSegments":[{"token":1}]}',
    `{"PathSegments":[${Array.from({ length: 33 }, () => '{}').join(',')}]}`,
    `{"PathSegments":[{"token":"${'x'.repeat(70_000)}"}]}`,
  ]
  for (const text of bad)
    t.throws(
      () => decodeRegistryPath(text),
      { code: 'INVALID_ARGUMENT', message: /^metadata path/ },
      text.slice(0, 60),
    )
  t.end()
})

t.test('any text is read or refused, and what was read is written back the same', (t) => {
  const texts = fc.oneof(
    fc.string(),
    fc.json(),
    fc
      .record({
        Index: fc.integer({ min: -1, max: 4 }),
        PathSegments: fc.array(fc.record({ token: fc.string() }), { maxLength: 4 }),
      })
      .map((path) => JSON.stringify(path)),
  )
  fc.assert(
    fc.property(texts, (text) => {
      try {
        const path = decodeRegistryPath(text)
        t.same(decodeRegistryPath(encodeRegistryPath(path)), path)
      } catch (err) {
        if (!(err instanceof NsmError)) throw err
      }
    }),
    { numRuns: 300 },
  )
  t.end()
})

import { owners } from '@nsm/sdk/registry/owners.js'
import t from 'tap'

t.test('a name is free again when it was freed, undone or has expired', (t) => {
  const names = owners()
  names.claim('a', 'me', 0)
  t.equal(names.of('a', 0), 'me')
  names.confirm('a', 'me', 100)
  t.equal(names.of('a', 99), 'me')
  t.equal(names.of('a', 100), undefined)
  const undo = names.claim('a', 'you', 100)
  t.equal(names.of('a', 1e15), 'you', 'for as long as the call goes on')
  undo()
  t.equal(names.of('a', 100), undefined)
  names.confirm('b', 'me', Infinity)
  const nothing = names.claim('b', 'me', 0)
  nothing()
  t.equal(names.of('b', 0), 'me', 'a refresh that fails does not free it')
  names.free('b')
  t.equal(names.of('b', 0), undefined)
  t.end()
})

t.test('bounded: expired names make room, living ones do not', (t) => {
  const names = owners(2)
  names.confirm('a', 'me', 100)
  names.confirm('b', 'me', Infinity)
  t.throws(() => names.claim('c', 'me', 50), { code: 'RESOURCE_EXHAUSTED' })
  names.claim('c', 'me', 2000)
  t.equal(names.of('b', 2000), 'me')
  t.end()
})

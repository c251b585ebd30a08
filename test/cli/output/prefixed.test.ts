import { prefixed } from '@nsm/cli/output/prefixed.js'
import t from 'tap'

t.test('each line gets its prefix once, wherever the pieces break', async (t) => {
  let text = ''
  const { push, flush } = prefixed('a ', (more) => {
    text += more
  })
  push('on')
  t.equal(text, '', 'not a whole line yet')
  push('e\ntwo\nthr')
  t.equal(text, 'a one\na two\n')
  push('ee')
  flush()
  flush()
  t.equal(text, 'a one\na two\na three\n')
})

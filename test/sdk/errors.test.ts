import { NsmError, statusText } from '@nsm/sdk/errors.js'
import { SpiffeError } from '@nsm/spiffe/errors.js'
import t from 'tap'

t.test('what was thrown keeps its code and its text', (t) => {
  const own = new NsmError('NOT_FOUND', 'no such thing')
  t.equal(NsmError.from(own), own)
  const cases: [unknown, string, string][] = [
    [Object.assign(new Error('5 NOT_FOUND: gone'), { code: 5, details: 'gone' }), 'NOT_FOUND', 'gone'],
    [new SpiffeError('PERMISSION_DENIED', 'no identity'), 'PERMISSION_DENIED', 'no identity'],
    [Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }), 'UNKNOWN', 'connect'],
    [Object.assign(new Error('odd'), { code: 'toString' }), 'UNKNOWN', 'odd'],
    [Object.assign(new Error('odd'), { code: 99 }), 'UNKNOWN', 'odd'],
    [new DOMException('given up', 'AbortError'), 'CANCELLED', 'given up'],
    [new DOMException('too late', 'TimeoutError'), 'DEADLINE_EXCEEDED', 'too late'],
    ['text', 'UNKNOWN', 'text'],
    [undefined, 'UNKNOWN', 'undefined'],
  ]
  for (const [thrown, code, message] of cases) {
    const err = NsmError.from(thrown)
    t.match(err, { code, message })
    if (thrown instanceof Error) t.equal(err.cause, thrown)
  }
  t.end()
})

t.test('the text is the one that Go programs print', (t) => {
  t.equal(statusText(new NsmError('NOT_FOUND', 'gone')), 'rpc error: code = NotFound desc = gone')
  t.equal(statusText(new NsmError('CANCELLED', 'x')), 'rpc error: code = Canceled desc = x')
  t.equal(statusText(new NsmError('DEADLINE_EXCEEDED', '')), 'rpc error: code = DeadlineExceeded desc = ')
  t.end()
})

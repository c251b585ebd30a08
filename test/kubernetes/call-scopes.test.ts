import { callScopes } from '@nsm/kubernetes/call-scopes.js'
import { mock } from 'node:test'
import t from 'tap'

t.beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
t.afterEach(() => mock.timers.reset())

t.test('the time for the answer begins when the turn has come', async (t) => {
  const scope = callScopes(1000).open('GET /api', undefined)
  mock.timers.tick(999)
  scope.begin()
  mock.timers.tick(999)
  t.notOk(scope.signal.aborted)
  mock.timers.tick(1)
  t.match(scope.signal.reason, {
    code: 'DEADLINE_EXCEEDED',
    message: 'GET /api: no answer within 1000 ms',
  })
})

t.test('a turn that does not come is this process’ own fault, and is told so', async (t) => {
  const scope = callScopes(1000).open('GET /api', undefined)
  mock.timers.tick(1000)
  t.match(scope.signal.reason, {
    code: 'RESOURCE_EXHAUSTED',
    message: /its turn did not come within 1000 ms/,
  })
})

t.test('what is over, or endless, has no deadline', async (t) => {
  const scopes = callScopes(1000)
  const [over, endless] = [scopes.open('GET /a', undefined), scopes.open('GET /b', undefined)]
  over.begin()
  over.close()
  endless.begin()
  endless.endless()
  mock.timers.tick(2000)
  t.notOk(over.signal.aborted || endless.signal.aborted)
})

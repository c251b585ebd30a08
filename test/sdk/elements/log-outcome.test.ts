import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background } from '@nsm/sdk/ctx.js'
import { logOutcome, type Outcome } from '@nsm/sdk/elements/log-outcome.js'
import { silent, type Fields, type Logger } from '@nsm/sdk/log.js'
import t from 'tap'
import { handClock } from '../../kit/clock.ts'
import { refusing } from '../../kit/elements.ts'

t.test('one line and one outcome for each call', async (t) => {
  const lines: [string, Fields, string][] = []
  const log: Logger = {
    ...silent,
    info: (fields, text) => void lines.push(['info', fields, text]),
    warn: (fields, text) => void lines.push(['warn', fields, text]),
  }
  const outcomes: Outcome[] = []
  const clock = handClock()
  const { state, element } = refusing()
  const service = chain([
    logOutcome((outcome) => outcomes.push(outcome)),
    {
      name: 'slow',
      request(ctx, req, next) {
        clock.advance(7)
        return next.request(ctx, req)
      },
    },
    element,
  ])
  const ctx = background({ log, clock })
  const connection = Connection.fromPartial({ id: 'a', networkService: 'web' })
  await t.rejects(service.request(ctx, { connection, mechanismPreferences: [] }))
  state.on = false
  await service.request(ctx, { connection, mechanismPreferences: [] })
  await service.close(ctx, connection)
  const fields = { connection_id: 'a', network_service: 'web' }
  t.same(lines, [
    ['warn', { ...fields, code: 'UNAVAILABLE', ms: 7, err: 'refused by the test' }, 'request failed'],
    ['info', { ...fields, code: 'OK', ms: 7 }, 'request'],
    ['info', { ...fields, code: 'OK', ms: 0 }, 'close'],
  ])
  t.same(outcomes, [
    { operation: 'request', service: 'web', code: 'UNAVAILABLE', ms: 7 },
    { operation: 'request', service: 'web', code: 'OK', ms: 7 },
    { operation: 'close', service: 'web', code: 'OK', ms: 0 },
  ])
})

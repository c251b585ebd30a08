import { changedStatus } from '@nsm/registry/kubernetes/condition.js'
import type { Known } from '@nsm/registry/kubernetes/named-objects.js'
import t from 'tap'

const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678)

function known(status?: object, fault?: string, uid = 'u'): Known<unknown> {
  const metadata = { namespace: 'app', name: 'db', uid, generation: 7 }
  const item = fault === undefined ? {} : undefined
  return {
    key: 'app/db',
    object: { metadata, ...(status === undefined ? {} : { status }) },
    stored: item,
    item,
    fault,
    endsMs: Infinity,
  }
}

t.test('a new object gets its condition, others’ conditions stay', async (t) => {
  const other = { type: 'Other', status: 'True', reason: 'x', message: 'y' }
  t.same(changedStatus(known({ conditions: [other] }), { winner: known(), more: { endpoints: 2 }, nowMs }), {
    endpoints: 2,
    conditions: [
      other,
      {
        type: 'Ready',
        status: 'True',
        reason: 'Registered',
        message: 'served to clients',
        lastTransitionTime: '2026-01-02T03:04:05Z',
        observedGeneration: 7,
      },
    ],
  })
})

t.test('what it says already is not written again; the time is that of the change', async (t) => {
  const told = { winner: known(), more: { endpoints: 2 }, nowMs }
  const status = changedStatus(known(), told)
  t.equal(changedStatus(known(status), { ...told, nowMs: nowMs + 5000 }), undefined)
  const counted = changedStatus(known(status), { ...told, more: { endpoints: 3 }, nowMs: nowMs + 5000 })
  t.match(counted, { endpoints: 3, conditions: [{ lastTransitionTime: '2026-01-02T03:04:05Z' }] })
  const broken = known(status, 'spec.url must be a text, not 5')
  const now = changedStatus(broken, { winner: undefined, more: {}, nowMs: nowMs + 5000 })
  t.match(now, {
    conditions: [
      {
        status: 'False',
        reason: 'InvalidSpec',
        message: 'not served: spec.url must be a text, not 5',
        lastTransitionTime: '2026-01-02T03:04:10Z',
      },
    ],
  })
})

t.test('an object whose name another one has says which', async (t) => {
  t.match(changedStatus(known(), { winner: known(undefined, undefined, 'other'), more: {}, nowMs }), {
    conditions: [{ status: 'False', reason: 'NameTaken', message: 'not served: app/db has this name' }],
  })
})

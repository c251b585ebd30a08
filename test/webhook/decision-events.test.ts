import type { RecordedEvent } from '@nsm/kubernetes/events.js'
import { decisionEvents } from '@nsm/webhook/decision-events.js'
import type { Decision } from '@nsm/webhook/review.js'
import t from 'tap'

const owner = { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: 'db-1', uid: 'u', controller: true }

function told(decision: Partial<Decision>, request: object = {}, metadata: object = {}): RecordedEvent[] {
  const events: RecordedEvent[] = []
  const recorder = {
    record: (event: RecordedEvent) => void events.push(event),
    dropped: 0,
    close: async () => {},
  }
  const object = { metadata: { ownerReferences: [{ ...owner, controller: false }, owner], ...metadata } }
  const whole: Decision = { result: 'skipped', reason: 'disabled', patch: [], warnings: [], ...decision }
  decisionEvents(recorder)(whole, { request: { namespace: 'shop', object, ...request } })
  return events
}

const { controller: _, ...regarding } = { ...owner, namespace: 'shop' }

t.test('why a pod is left alone is told on its controller', async (t) => {
  t.same(told({}), [
    {
      regarding,
      type: 'Normal',
      reason: 'NetworkServiceInjectionSkipped',
      message: 'nothing injected: disabled',
    },
  ])
  t.match(told({ reason: 'host_network', warnings: ['a', 'b'] }), [
    { type: 'Warning', reason: 'NetworkServiceInjectionSkipped', message: 'a; b' },
  ])
  t.match(told({ result: 'injected', reason: 'annotation', warnings: ['no names'] }), [
    { type: 'Warning', reason: 'NetworkServiceInjectionWarning', message: 'no names' },
  ])
})

t.test('a pod that somebody made by hand is named itself, if it has a name', async (t) => {
  t.match(told({}, {}, { ownerReferences: [], name: 'db' }), [
    { regarding: { apiVersion: 'v1', kind: 'Pod', namespace: 'shop', name: 'db' } },
  ])
  t.same(told({}, {}, { ownerReferences: [], generateName: 'db-' }), [])
})

t.test(
  'nothing is told of a dry run, of pods that did not ask, of denials, of what is no review',
  async (t) => {
    t.same(told({}, { dryRun: true }), [])
    for (const reason of ['no_annotation', 'not_a_pod_creation', 'already_injected', 'mirror_pod'])
      t.same(told({ reason }), [], reason)
    t.same(told({ result: 'denied', reason: 'host_network' }), [])
    t.same(told({}, { object: null }), [])
  },
)

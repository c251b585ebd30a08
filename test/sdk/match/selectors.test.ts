import {
  NetworkService,
  NetworkServiceEndpoint,
  type DeepPartial,
  type Match,
} from '@nsm/api/gen/registry.js'
import { isExpired, isSubset, matchEndpoints } from '@nsm/sdk/match/selectors.js'
import t from 'tap'

const now = Date.parse('2030-01-01T00:00:00Z')

function endpoint(
  name: string,
  labels: Record<string, string>,
  expirationTime?: Date,
): NetworkServiceEndpoint {
  return NetworkServiceEndpoint.fromPartial({
    name,
    networkServiceNames: ['svc'],
    networkServiceLabels: { svc: { labels } },
    expirationTime,
  })
}

const gateway = endpoint('gateway', { app: 'gateway' })
const firewall = endpoint('firewall', { app: 'firewall', nodeName: 'n1' })
const all = [gateway, firewall]

function names(
  matches: DeepPartial<Match>[],
  labels: Record<string, string> = {},
  endpoints = all,
): string[] {
  const service = NetworkService.fromPartial({ name: 'svc', matches })
  return matchEndpoints({ labels, now }, service, endpoints).map(({ name }) => name)
}

const to = (app: string): { destinationSelector: Record<string, string> } => ({
  destinationSelector: { app },
})

t.test('a service without matches takes every endpoint that lives', (t) => {
  const dead = endpoint('dead', {}, new Date(now))
  const alive = endpoint('alive', {}, new Date(now + 1))
  const odd = endpoint('odd', {}, new Date(NaN))
  t.same(names([], {}, [dead, alive, odd, gateway]), ['alive', 'gateway'])
  t.equal(isExpired(gateway, now), false)
  t.end()
})

t.test('the first match that applies decides', (t) => {
  const matches = [
    { sourceSelector: { app: 'firewall' }, routes: [to('gateway')] },
    { routes: [to('firewall')] },
  ]
  t.same(names(matches, { app: 'firewall' }), ['gateway'])
  t.same(names(matches, { app: 'other' }), ['firewall'])
  t.same(names(matches), ['firewall'])
  t.same(names([{ sourceSelector: { app: 'x' }, routes: [to('gateway')] }]), [], 'no match applies')
  t.end()
})

t.test('an empty result: fallthrough, then metadata without routes, else nothing', (t) => {
  t.same(names([{ routes: [to('none')] }, { routes: [to('gateway')] }]), [])
  t.same(names([{ routes: [to('none')], fallthrough: true }, { routes: [to('gateway')] }]), ['gateway'])
  t.same(names([{ metadata: { labels: {} } }]), ['gateway', 'firewall'])
  t.same(names([{ metadata: { labels: {} }, routes: [to('none')] }]), [])
  t.same(names([{ metadata: {}, fallthrough: true }, { routes: [to('gateway')] }]), ['gateway'])
  t.same(names([{}]), [])
  t.end()
})

t.test('an endpoint hit by two routes is there twice', (t) => {
  t.same(names([{ routes: [to('gateway'), { destinationSelector: {} }] }]), [
    'gateway',
    'gateway',
    'firewall',
  ])
  t.end()
})

t.test('selector values are templates over the labels of the connection', (t) => {
  const matches = [{ routes: [{ destinationSelector: { nodeName: '{{.nodeName}}' } }] }]
  t.same(names(matches, { nodeName: 'n1' }), ['firewall'])
  t.same(names(matches, { nodeName: 'n2' }), [])
  t.same(names(matches), [])
  t.same(
    names([{ sourceSelector: { a: '{{ index . "b" }}' }, routes: [to('gateway')] }], { a: 'v', b: 'v' }),
    ['gateway'],
  )
  t.end()
})

t.test('a subset has no more entries than its superset, and an absent label counts as empty', (t) => {
  t.ok(isSubset({ a: '1', b: '2' }, { a: '1' }, {}))
  t.notOk(isSubset({ a: '1' }, { a: '1', b: '' }, {}), 'more entries than there are labels')
  t.ok(isSubset({ a: '1', c: '3' }, { a: '1', b: '' }, {}))
  t.notOk(isSubset({ a: '1' }, { constructor: 'x' }, {}))
  t.ok(isSubset({}, {}, {}))
  t.end()
})

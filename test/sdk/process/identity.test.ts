import type { Logger } from '@nsm/sdk/log.js'
import { identityCheck, openIdentity } from '@nsm/sdk/process/identity.js'
import { processMetrics } from '@nsm/sdk/process/metrics.js'
import { status } from '@grpc/grpc-js'
import t from 'tap'
import { handClock } from '../../kit/clock.js'
import { testAuthority } from '../../kit/identity.js'
import { messageOf, workloadServer, type SvidCall } from '../../kit/workload-server.js'

function lines(): { log: Logger; said: Record<string, unknown>[] } {
  const said: Record<string, unknown>[] = []
  const take = (fields: object, msg: string): void => void said.push({ ...fields, msg })
  const log: Logger = { debug: take, info: take, warn: take, error: take, child: () => log }
  return { log, said }
}

t.test('the first identity, then its rotation', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const states = [ca.source('/ns/a/pod/b').current, ca.source('/ns/a/pod/c').current]
  let open: SvidCall | undefined
  const server = await workloadServer({
    svids: (call) => {
      open = call
      call.write(messageOf(states[0]!))
    },
  })
  t.teardown(() => server.stop())
  const { log, said } = lines()
  const source = await openIdentity(server.address, log, new AbortController().signal)
  t.teardown(() => source.close())
  t.match(said, [{ msg: 'identity', spiffe_id: 'spiffe://k8s.nsm/ns/a/pod/b', expires: /Z$/ }])
  const rotated = new Promise<void>((done) => source.onChange(() => done()))
  open?.write(messageOf(states[1]!))
  await rotated
  t.equal(source.current.svids[0].id, 'spiffe://k8s.nsm/ns/a/pod/c')
  const metrics = processMetrics('x')
  metrics.svid(source)
  t.match(await metrics.text(), /nsm_svid_expiry_timestamp_seconds [1-9]\d{9}/)
})

t.test('a wrong address, a refused call, a signal', async (t) => {
  const { log, said } = lines()
  const { signal } = new AbortController()
  await t.rejects(openIdentity('nowhere', log, signal), {
    code: 'INVALID_ARGUMENT',
    message: /^SPIFFE_ENDPOINT_SOCKET: /,
  })
  const server = await workloadServer({
    svids: (call) => call.emit('error', { code: status.PERMISSION_DENIED, details: 'no identity issued' }),
  })
  t.teardown(() => server.stop())
  const reason = new Error('told to stop')
  const stop = new AbortController()
  const waiting = openIdentity(server.address, { ...log, warn: () => stop.abort(reason) }, stop.signal)
  await t.rejects(waiting, /told to stop/)
  t.same(said, [])
})

t.test('an identity that has expired is none', async (t) => {
  const ca = await testAuthority('k8s.nsm')
  const clock = handClock(Date.now())
  const source = ca.source('/ns/a/pod/b', { notAfter: new Date(clock.now() + 60_000) })
  const check = identityCheck(source, clock)
  t.equal(check(), undefined)
  clock.advance(60_000)
  t.equal(check(), 'the SVID of spiffe://k8s.nsm/ns/a/pod/b has expired')
  source.rotate({ notAfter: new Date(clock.now() + 60_000) })
  t.equal(check(), undefined)
})

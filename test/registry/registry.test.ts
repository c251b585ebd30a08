import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import type { Registries } from '@nsm/sdk/elements/discover.js'
import t, { type Test } from 'tap'
import { testAuthority } from '../kit/identity.ts'
import { endpoint, namesFound, watcher } from '../kit/registry-conformance.ts'
import { program, service } from '../kit/registry-mesh.ts'
import { freePort, startProcess, type RunningProcess } from '../kit/running-process.ts'
import { until } from '../kit/until.ts'
import { messageOf, workloadServer } from '../kit/workload-server.ts'

interface World {
  /** Starts the registry's process, always at the same address. */
  readonly start: () => Promise<RunningProcess>
  readonly client: (path: string) => Registries
  readonly ca: Awaited<ReturnType<typeof testAuthority>>
  readonly url: string
}

async function world(t: Test): Promise<World> {
  const ca = await testAuthority('k8s.nsm')
  const identity = ca.source('/ns/nsm-system/pod/registry')
  const workload = await workloadServer({ svids: (call) => call.write(messageOf(identity.current)) })
  t.teardown(() => workload.stop())
  const url = `tcp://127.0.0.1:${await freePort()}`
  const life = new AbortController()
  t.teardown(() => life.abort())
  return {
    ca,
    url,
    async start() {
      const running = startProcess(t, 'registry', {
        SPIFFE_ENDPOINT_SOCKET: workload.address,
        NSM_LISTEN_ON: url,
        NSM_OPS_LISTEN_ON: '127.0.0.1:0',
      })
      await running.said('listening')
      return running
    },
    client(path) {
      const { dial } = program(t, ca, path).dialer
      return registryClient({ dial, url, signal: life.signal, retry: { pauseMs: 20 } })
    },
  }
}

const soon = (): Ctx => ({
  ...background({ signal: AbortSignal.timeout(20_000) }),
  deadlineMs: Date.now() + 20_000,
})

t.test('register, find, watch, unregister; killed and started again everything is back', async (t) => {
  const { start, client } = await world(t)
  const first = await start()
  const nse = client('/ns/app/pod/nse')
  const { networkServiceEndpoints: seen } = client('/ns/nsm-system/pod/nsmgr')
  t.match(await nse.networkServices.register(soon(), service('db')), { payload: 'IP' })
  const { initialRegistrationTime } = await nse.networkServiceEndpoints.register(soon(), endpoint('a'))
  t.same(await namesFound(soon(), seen, { networkServiceNames: ['db'] }), ['a'])
  const next = watcher(t, seen, { name: 'b' })
  const heard = next()
  await nse.networkServiceEndpoints.register(soon(), endpoint('b', { url: 'tcp://1:1' }))
  t.equal(await heard, '+b tcp://1:1')
  await nse.networkServiceEndpoints.unregister(soon(), endpoint('b'))
  t.equal(await next(), '-b tcp://1:1')

  first.child.kill('SIGKILL')
  const second = await start()
  let names: string[] = []
  await until('the endpoint is registered again', async () => {
    names = await namesFound(soon(), seen).catch(() => [])
    return names.length > 0
  })
  t.same(names, ['a'], 'what was unregistered stays so')
  for await (const { networkServiceEndpoint } of seen.find(soon(), {
    networkServiceEndpoint: undefined,
    watch: false,
  }))
    t.same(networkServiceEndpoint?.initialRegistrationTime, initialRegistrationTime)
  await nse.networkServiceEndpoints.unregister(soon(), endpoint('a'))
  await nse.networkServices.unregister(soon(), service('db'))
  t.equal(await second.stop('SIGTERM'), 0)
})

t.test('health and metrics tell what is registered', async (t) => {
  const { start, client, ca, url } = await world(t)
  const running = await start()
  const { ops } = await running.said('listening')
  await client('/ns/app/pod/nse').networkServiceEndpoints.register(soon(), endpoint('a'))
  const metrics = await (await fetch(`${String(ops)}/metrics`)).text()
  t.match(metrics, 'nsm_registry_objects{kind="network service endpoint"} 1')
  t.match(
    metrics,
    /nsm_registry_calls_total{kind="network service endpoint",operation="register",code="OK"} 1/,
  )
  t.equal(await (await fetch(`${String(ops)}/readyz`)).text(), '[+]identity ok\nok\n')
  const { dialer } = program(t, ca, '/probe')
  t.equal(await dialer.checkHealth(soon(), url, 'registry.NetworkServiceRegistry'), 1)
  t.equal(await running.stop('SIGTERM'), 0)
})

t.test('a configuration that cannot be is refused with its variable', async (t) => {
  const running = startProcess(t, 'registry', {
    SPIFFE_ENDPOINT_SOCKET: 'unix:///nowhere',
    NSM_LISTEN_ON: 'http://x',
  })
  await t.rejects(running.said('listening'), { message: /NSM_LISTEN_ON/ })
})

import { NetworkServiceEndpoint, NetworkServiceEndpointQuery } from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { background, type Ctx } from '@nsm/sdk/ctx.js'
import { holdingDescriptors } from '@nsm/sdk/elements/call-descriptors.js'
import { NsmError } from '@nsm/sdk/errors.js'
import {
  registryChain,
  type NetworkServiceEndpointElement,
  type NetworkServiceEndpointRegistry,
} from '@nsm/sdk/registry-chain.js'
import { connect } from '@nsm/sdk/registry/connect.js'
import { endpointsWithDescriptors } from '@nsm/sdk/registry/connect-descriptors.js'
import { dial } from '@nsm/sdk/registry/dial.js'
import { localBypass } from '@nsm/sdk/registry/local-bypass.js'
import { recvFdServer } from '@nsm/sdk/registry/recv-fd.js'
import { sendFdServer } from '@nsm/sdk/registry/send-fd.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import { openSync, closeSync, renameSync, statSync, symlinkSync } from 'node:fs'
import t, { type Test } from 'tap'
import { socketFolder } from '../../kit/socket-folder.ts'
import { ctxFor, openCount, unixPair } from '../../kit/transport.ts'

/** Keeps what is registered, as it comes, and finds it all. */
function keeping(): { element: NetworkServiceEndpointElement; kept: Map<string, string>; fail: boolean } {
  const kept = new Map<string, string>()
  const state = {
    kept,
    fail: false,
    element: {
      name: 'keeping',
      async register(_ctx, endpoint) {
        if (state.fail) throw new NsmError('UNAVAILABLE', 'not today')
        kept.set(endpoint.name, endpoint.url)
        return endpoint
      },
      async *find() {
        for (const [name, url] of kept) {
          yield { deleted: false, networkServiceEndpoint: NetworkServiceEndpoint.fromPartial({ name, url }) }
        }
      },
      async unregister(_ctx, endpoint) {
        if (state.fail) throw new NsmError('UNAVAILABLE', 'not today')
        kept.delete(endpoint.name)
      },
    } satisfies NetworkServiceEndpointElement,
  }
  return state
}

interface World {
  readonly registry: NetworkServiceEndpointRegistry
  /** Passes no descriptors. */
  readonly plain: NetworkServiceEndpointRegistry
  readonly store: ReturnType<typeof keeping>
  /** The endpoint's socket file, with one descriptor of it. */
  readonly path: string
  readonly fd: number
}

/** @param behind what stands between the descriptors and the store */
async function world(
  t: Test,
  sharedFolders: readonly string[] = [],
  behind: readonly NetworkServiceEndpointElement[] = [],
): Promise<World> {
  const store = keeping()
  const recv = recvFdServer({ native, waitMs: 100, sharedFolders })
  t.teardown(() => recv.close())
  const send = sendFdServer({ native, fdOf: (url) => recv.fdOf(url) })
  const services = { networkServiceEndpoints: registryChain([recv, send, ...behind, store.element]) }
  const { dialer, url } = await unixPair(t, { services })
  const path = `${sharedFolders[0] ?? socketFolder(t)}/nse.sock`
  const listener = await listenUnix(path, {}, (socket) => socket.destroy())
  t.teardown(() => listener.close())
  const fd = native.open(path, 'path')
  t.teardown(() => native.close(fd))
  const through = (api: (remote: Remote) => NetworkServiceEndpointRegistry): NetworkServiceEndpointRegistry =>
    registryChain([dial(dialer.dial, url)], connect(api))
  const registry = through(endpointsWithDescriptors(native))
  const plain = through((remote) => remote.networkServiceEndpoints)
  return { registry, plain, store, path, fd }
}

const endpoint = (url: string): NetworkServiceEndpoint =>
  NetworkServiceEndpoint.fromPartial({ name: 'e', url })

async function urlsOf(registry: NetworkServiceEndpointRegistry, ctx: Ctx): Promise<string[]> {
  const urls: string[] = []
  for await (const { networkServiceEndpoint } of registry.find(
    ctx,
    NetworkServiceEndpointQuery.fromPartial({}),
  )) {
    urls.push(networkServiceEndpoint?.url ?? '')
  }
  return urls
}

t.test('a socket is held for as long as its registration lives', async (t) => {
  const { registry, store, path, fd } = await world(t)
  const answer = await registry.register(ctxFor(5000), endpoint(`unix://${path}`))
  t.equal(answer.url, `unix://${path}`, 'the endpoint reads its own text')
  const url = store.kept.get('e') ?? ''
  t.match(url, /^unix:\/\/\/proc\/\d+\/fd\/\d+$/)
  t.equal(openCount(fd), 2, 'one for the registration')
  ;(await connectUnix(url.slice('unix://'.length))).destroy()

  await registry.register(ctxFor(5000), endpoint(`unix://${path}`))
  t.equal(store.kept.get('e'), url, 'a refresh keeps it')
  t.equal(openCount(fd), 2)
  await registry.unregister(ctxFor(5000), endpoint(`unix://${path}`))
  t.equal(openCount(fd), 1)
  t.equal(store.kept.size, 0)
})

t.test('a refused registration holds nothing', async (t) => {
  const { registry, store, path, fd } = await world(t)
  store.fail = true
  await t.rejects(registry.register(ctxFor(5000), endpoint(`unix://${path}`)), { code: 'UNAVAILABLE' })
  t.equal(openCount(fd), 1)
})

t.test(
  'the number of a closed socket may be another’s next: the endpoint that had it is not found',
  async (t) => {
    const { plain, store, path } = await world(t, [socketFolder(t)], [localBypass('tcp://192.0.2.1:5001')])
    const other = `${path}.other`
    const listener = await listenUnix(other, {}, (socket) => socket.destroy())
    t.teardown(() => listener.close())
    await plain.register(ctxFor(5000), endpoint(`unix://${path}`))
    store.fail = true
    await t.rejects(plain.unregister(ctxFor(5000), endpoint(`unix://${path}`)), { code: 'UNAVAILABLE' })
    store.fail = false
    await plain.register(ctxFor(5000), { ...endpoint(`unix://${other}`), name: 'other' })
    const { dev, ino } = statSync(other, { bigint: true })
    t.same(await urlsOf(plain, ctxFor(5000)), [`inode://${dev}/${ino}`])
  },
)

t.test('found sockets are passed on, for the time of the served call', async (t) => {
  const { registry, plain, path, fd } = await world(t)
  await registry.register(ctxFor(5000), endpoint(`unix://${path}`))
  const { ino } = statSync(path, { bigint: true })
  await holdingDescriptors(ctxFor(5000), native, async (ctx) => {
    const [url = ''] = await urlsOf(registry, ctx)
    t.match(url, /^unix:\/\/\/proc\/\d+\/fd\/\d+$/)
    t.equal(statSync(url.slice('unix://'.length), { bigint: true }).ino, ino)
    t.equal(openCount(fd), 3)
  })
  t.equal(openCount(fd), 2)
  t.match(await urlsOf(plain, ctxFor(5000)), [/^inode:\/\/\d+\/\d+$/], 'outside of a served call, the text')
})

t.test('what is no socket file of the caller is refused', async (t) => {
  const { registry, plain, path } = await world(t)
  const file = `${t.testdir()}/file`
  closeSync(openSync(file, 'w'))
  const refused = (
    api: NetworkServiceEndpointRegistry,
    url: string,
    code: string,
    message: RegExp,
  ): Promise<unknown> => t.rejects(api.register(ctxFor(5000), endpoint(url)), { code, message }, url)
  await refused(registry, `unix://${file}`, 'INVALID_ARGUMENT', /is a file, not a socket file/)
  await refused(plain, `unix://${path}`, 'PERMISSION_DENIED', /no path is taken/)
  await refused(plain, 'inode://a/b', 'PERMISSION_DENIED', /no path is taken/)
  await refused(plain, 'inode://4/1', 'DEADLINE_EXCEEDED', /no descriptor for the endpoint's url/)
})

t.test('a socket in a shared folder may be named by its path, and only there', async (t) => {
  const [folder, outside] = [socketFolder(t), socketFolder(t)]
  const { plain, registry, store, path, fd } = await world(t, [folder])
  const answer = await plain.register(ctxFor(5000), endpoint(`unix://${path}`))
  t.equal(answer.url, `unix://${path}`)
  const url = store.kept.get('e') ?? ''
  t.match(url, /^unix:\/\/\/proc\/\d+\/fd\/\d+$/)
  t.equal(openCount(fd), 2, 'held like a passed one')
  await plain.register(ctxFor(5000), endpoint(`unix://${path}`))
  t.same([store.kept.get('e'), openCount(fd)], [url, 2], 'a refresh keeps it')
  await holdingDescriptors(ctxFor(5000), native, async (ctx) => {
    t.match(await urlsOf(registry, ctx), [/^unix:\/\/\/proc\/\d+\/fd\/\d+$/], 'passed on as a descriptor')
  })

  renameSync(path, `${path}.old`)
  const listener = await listenUnix(path, {}, (socket) => socket.destroy())
  t.teardown(() => listener.close())
  await plain.register(ctxFor(5000), endpoint(`unix://${path}`))
  t.not(store.kept.get('e'), url, 'the endpoint has a new socket at the same path')
  t.equal(openCount(fd), 1)
  await plain.unregister(ctxFor(5000), endpoint(`unix://${path}`))

  renameSync(`${path}.old`, `${outside}/s.sock`)
  symlinkSync(`${outside}/s.sock`, `${folder}/link`)
  symlinkSync(outside, `${folder}/folder`)
  closeSync(openSync(`${folder}/file`, 'w'))
  const refused = {
    [`${folder}/link`]: { code: 'PERMISSION_DENIED', message: /out of the shared folder/ },
    [`${folder}/folder/s.sock`]: { code: 'PERMISSION_DENIED', message: /out of the shared folder/ },
    [`${folder}/../outside/s.sock`]: { code: 'PERMISSION_DENIED' },
    [`${outside}/s.sock`]: { code: 'PERMISSION_DENIED', message: /no path is taken/ },
    [`${folder}/none`]: { code: 'NOT_FOUND' },
    [`${folder}/file`]: { code: 'INVALID_ARGUMENT', message: /is a file/ },
  }
  for (const [where, expected] of Object.entries(refused))
    await t.rejects(plain.register(ctxFor(5000), endpoint(`unix://${where}`)), expected, where)
  t.equal(store.kept.size, 0)
  t.equal(openCount(fd), 1)
})

t.test('without a caller, urls go as they are', async (t) => {
  const { element, kept } = keeping()
  const registry = registryChain([recvFdServer({ native }), element])
  await registry.register(background(), endpoint('unix:///var/lib/networkservicemesh/nse.sock'))
  t.equal(kept.get('e'), 'unix:///var/lib/networkservicemesh/nse.sock')
})

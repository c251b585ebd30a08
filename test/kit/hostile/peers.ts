import { connect as connectTcp } from 'node:net'
import { NetworkService, NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { native } from '@nsm/native/native.js'
import { registryClient } from '@nsm/sdk/chains/registry-client.js'
import { formatInodeUrl } from '@nsm/sdk/descriptors.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { silent } from '@nsm/sdk/log.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import { dialer } from '@nsm/sdk/transport/client.js'
import type { Remote } from '@nsm/sdk/transport/remote.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import { federation, testAuthority } from '../identity.ts'
import {
  agent,
  ask,
  forwarder,
  manager,
  ownTokens,
  session,
  unix,
  within,
  type Attempts,
  type Orders,
} from './session.ts'

/** Requests to `url` that name the namespace that `send` has passed. */
export function netnsAttempts(source: X509Source, orders: Orders): Attempts {
  const asking = async (
    url: string,
    send: (remote: Remote) => Promise<string> | string,
  ): Promise<unknown> => {
    const remote = await session(source, url)
    const inodeURL = await send(remote)
    return remote.request(within(3_000), ask(orders.service, {}, { inodeURL, name: 'nsm-9' }))
  }
  const passing =
    (open: () => Promise<number> | number, times = 1) =>
    async (remote: Remote): Promise<string> => {
      const fd = await open()
      try {
        for (let i = 1; i < times; i++) remote.peer.descriptors?.send(fd)
        const key = remote.peer.descriptors?.send(fd)
        return key === undefined ? '' : formatInodeUrl(key)
      } finally {
        native.close(fd)
      }
    }
  const peers = async (remote: Remote): Promise<string> =>
    passing(async () => remote.peer.descriptors?.peerNetns() ?? -1)(remote)
  const cases: Record<string, (remote: Remote) => Promise<string> | string> = {
    'of another pod by inode': () => orders.victimNetns,
    'by path': () => 'file:///proc/1/ns/net',
    'by path of this process': () => 'file:///proc/self/ns/net',
    'by bare path': () => '/proc/1/ns/net',
    'that nobody has': () => 'inode://4/1',
    'that is no number': () => 'inode://4/-1',
    'that is a file': passing(() => native.open('/etc/hostname', 'read')),
    'that is a mount namespace': passing(() => native.open('/proc/self/ns/mnt', 'read')),
    'that is a device': passing(() => native.open('/dev/null', 'read')),
    'that is the manager’s own': peers,
    'that is a new one': passing(() => native.createNetns()),
    '250 times': passing(() => native.open('/etc/hostname', 'read'), 250),
  }
  return Object.fromEntries(
    Object.entries(cases).flatMap(([name, send]) => [
      [`netns ${name}`, () => asking(manager, send)],
      [`netns ${name}, at the forwarder`, () => asking(forwarder, send)],
    ]),
  )
}

export function registryAttempts(source: X509Source, orders: Orders): Attempts {
  const { service, endpointName } = orders
  const registries = async (url: string) => {
    const dialled = dialer({ source, tokens: ownTokens, unix, dialTimeoutMs: 5_000, log: silent })
    return registryClient({
      dial: dialled.dial,
      url,
      signal: new AbortController().signal,
      descriptors: native,
    })
  }
  const nse = NetworkServiceEndpoint.fromPartial({
    name: endpointName,
    url: manager,
    networkServiceNames: [service],
  })
  const hijacked = NetworkService.fromPartial({
    name: service,
    payload: 'IP',
    matches: [{ routes: [{ destinationSelector: { app: 'hostile' } }] }],
  })
  const each: Record<string, (url: string) => Promise<unknown>> = {
    'endpoint of another name': async (url) =>
      (await registries(url)).networkServiceEndpoints.register(within(), nse),
    'endpoint taken away': async (url) =>
      (await session(source, url)).networkServiceEndpoints.unregister(within(), nse),
    'service redirected': async (url) => (await registries(url)).networkServices.register(within(), hijacked),
    'service taken away': async (url) =>
      (await session(source, url)).networkServices.unregister(within(), hijacked),
  }
  return Object.fromEntries(
    Object.entries(each).flatMap(([name, attempt]) =>
      [manager, orders.registryUrl].map((url) => [`${name}, ${url.slice(0, 3)}`, () => attempt(url)]),
    ),
  )
}

export async function identityAttempts(orders: Orders): Promise<Attempts> {
  const [same, other] = [await testAuthority(orders.trustDomain), await testAuthority('other.domain')]
  const bundles = federation(same, other)
  const now = Date.now()
  const sources: Record<string, X509Source> = {
    'of another authority': same.source('/ns/live/pod/nsc', { bundles }),
    'of another trust domain': other.source('/ns/live/pod/nsc', { bundles }),
    expired: same.source('/x', { bundles, notAfter: new Date(now - 1_000) }),
    'of two names': same.source('/x', {
      bundles,
      uris: [`spiffe://${orders.trustDomain}/x`, `spiffe://${orders.trustDomain}/y`],
    }),
  }
  const urls = [manager, forwarder, orders.registryUrl]
  return Object.fromEntries([
    ...Object.entries(sources).flatMap(([name, source]) =>
      urls.map((url) => [`identity ${name}, ${url.slice(-12)}`, () => trusting(source, url, orders)]),
    ),
    ['no TLS at all', () => plain(orders.registryUrl)],
  ]) as Attempts
}

/** The hostile end believes whoever answers, so that it is the other end that refuses. */
async function trusting(source: X509Source, url: string, { service }: Orders): Promise<unknown> {
  const real = await openIdentity(agent, silent, AbortSignal.timeout(5_000))
  const { svids } = source.current
  const believing = { ...source, current: { svids, bundles: real.current.bundles } }
  return (await session(believing, url)).request(within(), ask(service))
}

async function plain(url: string): Promise<unknown> {
  const { hostname, port } = new URL(url.replace(/^tcp/, 'http'))
  return new Promise((resolve, reject) => {
    const socket = connectTcp(Number(port), hostname, () => socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'))
    socket.on('data', (bytes) => {
      // A TLS alert is all that may come.
      if (bytes[0] !== 21) resolve(bytes)
    })
    socket.on('error', () => undefined)
    socket.on('close', () => reject(new NsmError('UNAVAILABLE', 'closed before a word was said')))
  })
}

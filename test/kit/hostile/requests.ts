import { Connection, MonitorScopeSelector, State } from '@nsm/api/gen/connection.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import type { TokenGenerator } from '@nsm/sdk/tokens.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import type { X509Source } from '@nsm/spiffe/svid.js'
import {
  ask,
  forwarder,
  later,
  manager,
  ownNetns,
  segment,
  session,
  within,
  type Attempts,
  type Orders,
} from './session.ts'

export function tokenAttempts(source: X509Source, orders: Orders): Attempts {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const expires = new Date(later() * 1_000)
  const claims = (sub: string, aud: string): object => ({ sub, aud: [aud], exp: later() })
  const bad: Record<string, TokenGenerator> = {
    missing: () => ({ token: '', expires }),
    garbage: () => ({ token: 'a.b.c', expires }),
    'alg none': ({ localSvid, spiffeId }) => ({
      token: `${part({ alg: 'none' })}.${part(claims(localSvid.id, spiffeId))}.`,
      expires,
    }),
    HS256: ({ localSvid, spiffeId }) => ({
      token: `${part({ alg: 'HS256' })}.${part(claims(localSvid.id, spiffeId))}.${'A'.repeat(43)}`,
      expires,
    }),
    expired: tokenGenerator({ maxLifetimeMs: -60_000, clock: systemClock }),
    'for another audience': ({ localSvid }) => ({
      token: signEs256({ sub: localSvid.id, aud: [orders.otherId], exp: later() }, localSvid.privateKey),
      expires,
    }),
    'about another pod': ({ localSvid, spiffeId }) => ({
      token: signEs256({ sub: orders.otherId, aud: [spiffeId], exp: later() }, localSvid.privateKey),
      expires,
    }),
    'of another pod': () => ({ token: orders.stolenToken, expires }),
    'of 1 MiB': () => ({ token: 'a'.repeat(1 << 20), expires }),
  }
  const netns = ownNetns()
  return Object.fromEntries(
    Object.entries(bad).flatMap(([name, tokens]) =>
      [manager, orders.managerTcpUrl].map((url) => [
        `token ${name}, ${url.slice(0, 3)}`,
        async () => (await session(source, url, tokens)).request(within(), ask(orders.service, {}, netns)),
      ]),
    ),
  )
}

export function pathAttempts(source: X509Source, { service }: Orders): Attempts {
  const long = Array.from({ length: 10_000 }, (_, i) => segment(`s${i}`, 'x'))
  const paths: Record<string, Connection['path']> = {
    'of 10,000 segments': { index: 0, pathSegments: long },
    'of 33 segments': { index: 32, pathSegments: long.slice(0, 33) },
    'index beyond': { index: 1, pathSegments: [segment('hostile', 'x')] },
    'largest index': { index: 4_294_967_295, pathSegments: [segment('hostile', 'x')] },
    'of the manager itself': { index: 0, pathSegments: [segment('nsmgr-node-1', 'x')] },
    'with equal names': {
      index: 1,
      pathSegments: [segment('hostile', 'x'), segment('hostile', 'x'), segment('hostile', 'x')],
    },
    'with another id': { index: 0, pathSegments: [segment('hostile', 'other')] },
    'with an empty id': { index: 0, pathSegments: [segment('hostile', '')] },
    missing: undefined,
  }
  return Object.fromEntries(
    Object.entries(paths).map(([name, path]) => [
      `path ${name}`,
      async () =>
        (await session(source, manager)).request(within(), ask(service, { id: 'x', path }, ownNetns())),
    ]),
  )
}

/** Somebody else's connection, by its ids, at the manager, the forwarder and the endpoint's manager side. */
export function theftAttempts(source: X509Source, orders: Orders): Attempts {
  const { victim, service } = orders
  const stolen = (index: number, state: State = State.UP): Connection =>
    Connection.fromPartial({
      id: victim[index]?.id ?? '',
      networkService: service,
      networkServiceEndpointName: orders.endpointName,
      state,
      path: { index, pathSegments: victim.map(({ name, id }) => segment(name, id, orders.stolenToken)) },
    })
  const request = (url: string, index: number, state: State = State.UP): (() => Promise<unknown>) => {
    return async () =>
      (await session(source, url)).request(within(), {
        ...ask(service, {}, ownNetns()),
        connection: stolen(index, state),
      })
  }
  const close = (url: string, index: number): (() => Promise<unknown>) => {
    return async () => (await session(source, url)).close(within(), stolen(index))
  }
  return {
    'refresh of another connection': request(manager, 0),
    'reselect of another connection': request(manager, 0, State.RESELECT_REQUESTED),
    'close of another connection': close(manager, 0),
    'refresh as the manager, at the forwarder': request(forwarder, 1),
    'close as the manager, at the forwarder': close(forwarder, 1),
    'monitor of all connections': async () => heard(source, manager, {}),
    'monitor of another connection': async () => heard(source, manager, { id: victim[0]?.id ?? '' }),
    'monitor at the forwarder': async () => heard(source, forwarder, {}),
  }
}

/** Fails when nothing is to be heard, as is right. */
async function heard(source: X509Source, url: string, wanted: { id?: string }): Promise<unknown> {
  const remote = await session(source, url)
  const pathSegments = wanted.id === undefined ? [] : [{ id: wanted.id }]
  for await (const { connections } of remote.monitor(
    within(),
    MonitorScopeSelector.fromPartial({ pathSegments }),
  )) {
    if (Object.keys(connections).length === 0) throw new NsmError('NOT_FOUND', 'there is nothing to be heard')
    return connections
  }
  throw new NsmError('NOT_FOUND', 'the stream has ended')
}

export function nameAttempts(source: X509Source, { service }: Orders): Attempts {
  const names = [
    'lo',
    'eth0',
    '..',
    'a/b',
    'sixteen-letters-',
    'ü',
    '%d',
    'a b',
    'a\nb',
    '.',
    'all',
    'default',
  ]
  return Object.fromEntries(
    names.map((name) => [
      `interface ${JSON.stringify(name)}`,
      async () =>
        (await session(source, manager)).request(within(), ask(service, {}, { ...ownNetns(), name })),
    ]),
  )
}

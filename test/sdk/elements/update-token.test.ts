import { Connection } from '@nsm/api/gen/connection.js'
import { chain } from '@nsm/sdk/chain.js'
import { background, withValue, type Ctx } from '@nsm/sdk/ctx.js'
import { updateToken } from '@nsm/sdk/elements/update-token.js'
import { incomingCall, newCall, tokenExpiresHeader, tokenHeader } from '@nsm/sdk/transport/call.js'
import { signEs256 } from '@nsm/spiffe/es256.js'
import t from 'tap'
import { recording } from '../../kit/elements.ts'
import { testAuthority } from '../../kit/identity.ts'

const ca = await testAuthority('k8s.nsm')
const client = ca.svid('/client')
const server = ca.svid('/server')
const peer = {
  spiffeId: client.id,
  certificate: client.certificates[0],
  localSvid: server,
  descriptors: undefined,
}
const own = { token: 'own', expires: new Date('2030-01-01T00:00:00Z') }

async function through(headers: Record<string, string>, index = 1, ctx: Partial<Ctx> = { peer }) {
  const call = newCall()
  for (const [name, value] of Object.entries(headers)) call.requestHeaders.set(name, value)
  const { requests, closes, element } = recording()
  const service = chain([updateToken(() => own), element])
  const connection = Connection.fromPartial({
    id: 'x',
    path: {
      index,
      pathSegments: [
        { name: 'client', token: 'old' },
        { name: 'server', token: 'older' },
      ],
    },
  })
  const called = withValue({ ...background(), ...ctx }, incomingCall, call)
  await service.request(called, { connection, mechanismPreferences: [] })
  await service.close(called, connection)
  t.same(closes[0], requests[0], 'the same for Close')
  return requests[0]?.path?.pathSegments ?? []
}

const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1000) + seconds
const token = (exp: number): string => signEs256({ sub: client.id, aud: [server.id], exp }, client.privateKey)

t.test('the caller’s token and expiry from the headers, then an own one', async (t) => {
  const text = token(inSeconds(600))
  const expires = new Date(inSeconds(60) * 1000)
  const [first, second] = await through({
    [tokenHeader]: text,
    [tokenExpiresHeader]: expires.toISOString().replace('Z', '123456Z'),
  })
  t.match(first, { token: text, expires })
  t.match(second, own)
})

t.test('the expiry is never beyond that of token and certificate', async (t) => {
  const told = { [tokenExpiresHeader]: '9999-01-01T00:00:00Z' }
  const exp = inSeconds(600)
  const [byToken] = await through({ ...told, [tokenHeader]: token(exp) })
  t.same(byToken?.expires, new Date(exp * 1000))
  const [byCertificate] = await through({ ...told, [tokenHeader]: token(inSeconds(1e8)) })
  t.same(byCertificate?.expires, new Date(client.certificates[0].validTo))
  const [unread] = await through({ ...told, [tokenHeader]: 'garbage' })
  t.same(unread, { ...unread, token: 'garbage', expires: new Date(client.certificates[0].validTo) })
})

t.test('without headers the old token stays, for the policies to refuse', async (t) => {
  const [first, second] = await through({ [tokenHeader]: 'only this' })
  t.equal(first?.token, 'old')
  t.equal(second?.token, 'own')
})

t.test('a time that is none is refused', async (t) => {
  for (const time of ['', 'tomorrow', '2030-01-01', '2030-13-01T00:00:00Z', '1e9']) {
    await t.rejects(
      through({ [tokenHeader]: 'x', [tokenExpiresHeader]: time }),
      { code: 'INVALID_ARGUMENT' },
      time,
    )
  }
})

t.test('nobody before, or no caller at all', async (t) => {
  const headers = { [tokenHeader]: 'x', [tokenExpiresHeader]: '2030-01-01T00:00:00Z' }
  t.same(
    (await through(headers, 0)).map(({ token: text }) => text),
    ['own', 'older'],
  )
  t.same(
    (await through(headers, 1, {})).map(({ token: text }) => text),
    ['old', 'older'],
  )
})

import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import type { Connection } from '@nsm/api/gen/connection.js'
import { PolicyRoute } from '@nsm/api/gen/connectioncontext.js'
import { chain, connectionOf, type Element } from '@nsm/sdk/chain.js'
import { ipContextOf, withContext } from '@nsm/sdk/connection-context.js'
import { background } from '@nsm/sdk/ctx.js'
import { parsePolicyRoutes, policyRoutesFile } from '@nsm/sdk/elements/policy-routes-file.js'
import { policyRoutes } from '@nsm/sdk/elements/policy-routes.js'
import { silent, type Fields } from '@nsm/sdk/log.js'
import t from 'tap'
import { until } from '../../kit/until.js'

const example = `
- proto: 6
  dstport: 6666
  routes:
    - prefix: 172.16.3.0/24
      nexthop: 172.16.2.200
  from: 172.16.2.201/24
- Proto: "17"
  dstPort: 6667-6669
  srcport: 1
  routes: [{ prefix: "2004::5/120", nextHop: "2004::6" }, { prefix: 0.0.0.0/0 }]
`

t.test('the file as upstream has it', (t) => {
  t.match(parsePolicyRoutes(example), [
    {
      from: '172.16.2.201/24',
      proto: '6',
      dstPort: '6666',
      srcPort: '',
      routes: [{ prefix: '172.16.3.0/24', nextHop: '172.16.2.200' }],
    },
    {
      from: '',
      proto: '17',
      dstPort: '6667-6669',
      srcPort: '1',
      routes: [
        { prefix: '2004::5/120', nextHop: '2004::6' },
        { prefix: '0.0.0.0/0', nextHop: '' },
      ],
    },
  ])
  t.same(parsePolicyRoutes(''), [])
  t.end()
})

t.test('what is wrong is said with its place', (t) => {
  for (const [text, expected] of [
    ['a: 1', /the file must be a list/],
    ['- x', /^0 must be a mapping/],
    ['- proto: tcp', /^0\.proto must be the number/],
    ['- {}\n- proto: 256', /^1\.proto must be the number/],
    ['- dstport: 7-6', /^0\.dstport must be a port/],
    ['- srcport: 65536', /^0\.srcport must be a port/],
    ['- srcport: http', /^0\.srcport must be a port/],
    ['- from: 10.0.0.1', /^0\.from must be a prefix/],
    ['- form: 10.0.0.1/8', /^0\.form must be a mapping with from/],
    ['- routes: [{ nexthop: 10.0.0.1 }]', /^0\.routes\.0\.prefix must be a/],
    ['- routes: [{ prefix: 10.0.0.0/8, nexthop: 10.0.0.1/8 }]', /^0\.routes\.0\.nexthop must be an address/],
    [`[${'{},'.repeat(251)}]`, /the file must have at most 250 entries/],
  ] as const) {
    t.throws(() => parsePolicyRoutes(text), { message: expected }, text.slice(0, 40))
  }
  t.end()
})

t.test('clients get what the file says now', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-pbr-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'config.yaml')
  const warned: Fields[] = []
  const file = await policyRoutesFile(path, { ...silent, warn: (fields) => void warned.push(fields) })
  t.teardown(() => file.close())
  const service = chain([policyRoutes(() => file.policies())])
  const protocols = async (): Promise<(string | undefined)[] | undefined> => {
    const req = NetworkServiceRequest.fromPartial({
      connection: { id: 'a', context: { ipContext: { policies: [{ proto: '1' }] } } },
    })
    return (await service.request(background(), req)).context?.ipContext?.policies.map(({ proto }) => proto)
  }
  const replace = async (text: string): Promise<void> => {
    await writeFile(`${path}.new`, text)
    await rename(`${path}.new`, path)
  }
  t.same(await protocols(), [])
  await replace(example)
  await until('the policies are taken over', () => file.policies().length === 2)
  t.same(await protocols(), ['6', '17'])
  await replace('- proto: tcp')
  await until('the file is refused', () => warned.length > 0)
  t.same(await protocols(), ['6', '17'])
})

t.test('what a policy is from is an address of the client while the policy lasts', async (t) => {
  let policies = [
    PolicyRoute.fromPartial({ from: '10.1.0.9/24' }),
    PolicyRoute.fromPartial({ from: '10.2.0.9/32' }),
  ]
  const leased: Element = {
    name: 'ipam',
    request: (ctx, req, next) => {
      const conn = connectionOf(req)
      const { srcIpAddrs: brought, ...rest } = ipContextOf(conn)
      seen.push(brought)
      const srcIpAddrs = ['10.0.0.1/32', ...brought.filter((text) => text !== '10.0.0.1/32')]
      return next.request(ctx, {
        ...req,
        connection: withContext(conn, { ipContext: { ...rest, srcIpAddrs } }),
      })
    },
  }
  const seen: string[][] = []
  const service = chain([policyRoutes(() => policies), leased])
  const ask = async (conn: Partial<Connection>): Promise<Connection> =>
    service.request(background(), NetworkServiceRequest.fromPartial({ connection: { id: 'a', ...conn } }))
  const addresses = (conn: Connection): readonly string[] => ipContextOf(conn).srcIpAddrs

  const first = await ask({})
  t.same(addresses(first), ['10.0.0.1/32', '10.1.0.9/24', '10.2.0.9/32'])
  const second = await ask(first)
  t.same(addresses(second), addresses(first), 'a refresh changes nothing')
  policies = [PolicyRoute.fromPartial({ from: '10.0.0.1/32' })]
  const third = await ask(second)
  t.same(addresses(third), ['10.0.0.1/32'])
  policies = []
  t.same(addresses(await ask(third)), ['10.0.0.1/32'], 'what the IPAM gave stays')
  t.same(seen, [[], ['10.0.0.1/32', '10.2.0.9/32'], ['10.0.0.1/32'], ['10.0.0.1/32']])
})

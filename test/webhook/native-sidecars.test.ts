import { silent, type Logger } from '@nsm/sdk/log.js'
import { hasNativeSidecars } from '@nsm/webhook/native-sidecars.js'
import t from 'tap'
import { serverAndClient } from '../kit/api-client.js'
import { status } from '../kit/api-server.js'

t.test('native sidecars are there since 1.29, however providers write the version', async (t) => {
  const { server, client } = await serverAndClient(t)
  let version = { major: '1', minor: '37', gitVersion: 'v1.37.2' }
  server.intercept = ({ path }, res) => {
    if (path !== '/version') return false
    res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(version))
    return true
  }
  let warnings = 0
  const log: Logger = { ...silent, warn: () => void warnings++ }
  for (const [minor, isNative] of [
    ['37', true],
    ['29', true],
    ['29+', true],
    ['28', false],
    ['28+', false],
    ['9', false],
  ] as const) {
    version = { major: '1', minor, gitVersion: `v1.${minor}.0` }
    t.equal(await hasNativeSidecars(client, log), isNative, minor)
  }
  t.equal(warnings, 3, 'told when they are not')
  version = { major: '2', minor: '0', gitVersion: 'v2.0.0' }
  t.equal(await hasNativeSidecars(client, log), true)
})

t.test(
  'a server that keeps its version to itself is taken for a new one; one that fails is not',
  async (t) => {
    const { server, client } = await serverAndClient(t, { timeoutMs: 200 })
    let code = 403
    server.intercept = (_call, res) => {
      status(res, code, 'No', 'no')
      return true
    }
    t.equal(await hasNativeSidecars(client, silent), true)
    code = 500
    await t.rejects(hasNativeSidecars(client, silent))
  },
)

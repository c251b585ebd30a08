import { writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { inCluster } from '@nsm/kubernetes/in-cluster.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { serverVersion } from '@nsm/kubernetes/version.js'
import { silent } from '@nsm/sdk/log.js'
import t from 'tap'
import { serverAndClient, serviceAccount } from '../kit/api-client.ts'
import { status, testApiServer, type TestApiServer } from '../kit/api-server.ts'
import { handClock } from '../kit/clock.ts'
import { until } from '../kit/until.ts'

const path = '/api/v1/namespaces/n/configmaps'

const configMap = (name: string, data: Record<string, string> = {}): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name },
  data,
})

/** The first call makes the connection, which is not what a short time is to be spent on. */
async function warmUp(server: TestApiServer, client: ApiClient): Promise<void> {
  server.store.put('/api/v1/nodes', { metadata: { name: 'warm' } })
  await client.get('/api/v1/nodes/warm')
}

t.test('objects: create, get, replace, patch, delete', async (t) => {
  const { server, client } = await serverAndClient(t)
  t.equal(client.namespace, 'nsm-system')
  const created = await client.create(path, configMap('a', { x: '1', ä: '✓' }))
  t.match(created, { metadata: { name: 'a', namespace: 'n', uid: String }, data: { x: '1', ä: '✓' } })
  t.same(await client.get(`${path}/a`), created)
  const replaced = await client.replace(`${path}/a`, { ...created, data: { x: '2' } })
  t.match(replaced, { data: { x: '2' } })
  await t.rejects(client.replace(`${path}/a`, { ...created, data: {} }), {
    code: 'ABORTED',
    message: 'PUT /api/v1/namespaces/n/configmaps/a: the object has been modified (Conflict)',
  })
  t.match(await client.patch(`${path}/a`, { data: { y: '3', x: null } }, 'merge'), { data: { y: '3' } })
  const operations = [{ op: 'add', path: '/data/z', value: '4' }]
  t.same((await client.patch(`${path}/a`, operations, 'json'))['data'], { y: '3', z: '4' })
  await client.delete(`${path}/a`, { uid: 'u' })
  t.match(server.calls.at(-1)?.body, { kind: 'DeleteOptions', preconditions: { uid: 'u' } })
  await t.rejects(client.get(`${path}/a`), { code: 'NOT_FOUND', message: /"a" not found \(NotFound\)$/ })
  t.ok(server.calls.every(({ headers }) => headers['user-agent'] === 'nsm-test/1'))
  t.ok(server.calls.every(({ headers }) => headers.authorization === 'Bearer token-1'))
})

t.test('kinds of patches', async (t) => {
  const { server, client } = await serverAndClient(t)
  server.store.put('/api/v1/configmaps', { ...configMap('a'), metadata: { name: 'a', namespace: 'n' } })
  await client.patch(`${path}/a`, { data: {} }, 'strategic')
  await client.patch(`${path}/a?force=true`, { data: {} }, 'apply')
  await client.patch(`${path}/a?fieldManager=me`, { data: {} }, 'apply')
  t.match(
    server.calls.map(({ headers, query }) => [headers['content-type'], query]),
    [
      ['application/strategic-merge-patch+json', {}],
      ['application/apply-patch+yaml', { force: 'true', fieldManager: 'nsm-test' }],
      ['application/apply-patch+yaml', { fieldManager: 'me' }],
    ],
  )
})

t.test('what a server says is wrong, by its status', async (t) => {
  const { server, client } = await serverAndClient(t)
  const answers: [number, string, string][] = [
    [400, 'BadRequest', 'INVALID_ARGUMENT'],
    [401, 'Unauthorized', 'PERMISSION_DENIED'],
    [403, 'Forbidden', 'PERMISSION_DENIED'],
    [404, 'NotFound', 'NOT_FOUND'],
    [405, 'MethodNotAllowed', 'UNIMPLEMENTED'],
    [409, 'AlreadyExists', 'ALREADY_EXISTS'],
    [409, 'Conflict', 'ABORTED'],
    [410, 'Expired', 'OUT_OF_RANGE'],
    [422, 'Invalid', 'INVALID_ARGUMENT'],
    [500, 'InternalError', 'UNAVAILABLE'],
    [503, 'ServiceUnavailable', 'UNAVAILABLE'],
    [504, 'Timeout', 'DEADLINE_EXCEEDED'],
  ]
  for (const [code, reason, expected] of answers) {
    server.intercept = (_, res) => {
      status(res, code, reason, `says ${reason}`)
      return true
    }
    const message = `GET /api/v1/pods: says ${reason} (${reason})`
    await t.rejects(client.get('/api/v1/pods?limit=1'), { code: expected, message })
  }
  server.intercept = (_, res) => {
    res.writeHead(502).end('<html>a proxy is in the way</html>')
    return true
  }
  await t.rejects(client.get('/api'), { code: 'UNAVAILABLE', message: /a proxy is in the way/ })
  server.intercept = (_, res) => {
    res.writeHead(200).end('{"half":')
    return true
  }
  await t.rejects(client.get('/api'), { code: 'UNAVAILABLE', message: /no JSON/ })
})

t.test('a server that has too much to do is asked again when it says so', async (t) => {
  const { server, client } = await serverAndClient(t, { timeoutMs: 5_000 })
  let refused = 0
  server.intercept = ({ method }, res) => {
    if (refused >= 2) return false
    refused += 1
    res.setHeader('retry-after', '0')
    status(res, method === 'POST' ? 429 : 503, 'TooManyRequests', 'later')
    return true
  }
  await client.create(path, configMap('a'))
  t.equal(server.calls.length, 3)
  refused = 0
  await client.get(`${path}/a`)
  t.equal(server.calls.length, 6)
})

t.test('one that says so longer than there is time', async (t) => {
  const { server, client } = await serverAndClient(t, { timeoutMs: 2_000 })
  await warmUp(server, client)
  server.intercept = (_, res) => {
    res.setHeader('retry-after', '60')
    status(res, 429, 'TooManyRequests', 'later')
    return true
  }
  await t.rejects(client.get('/api'), { code: 'RESOURCE_EXHAUSTED', message: /later/ })
})

t.test('a version that the server has not reached is told at once', async (t) => {
  const { server, client } = await serverAndClient(t)
  const query = 'resourceVersion=999999&resourceVersionMatch=NotOlderThan'
  await t.rejects(client.get(`${path}?${query}`), {
    code: 'OUT_OF_RANGE',
    message: /Too large resource version/,
  })
  t.equal(server.calls.length, 1, 'though it asks for patience')
})

t.test('deadlines, aborts and the end of the client', async (t) => {
  const { server, client } = await serverAndClient(t, { timeoutMs: 2_000 })
  await warmUp(server, client)
  server.intercept = (call, res) => {
    if (call.path === '/half') res.writeHead(200).write('{')
    return true
  }
  const late = { code: 'DEADLINE_EXCEEDED', message: /no answer within 2000 ms/ }
  await t.rejects(client.get('/silent'), late)
  await t.rejects(client.get('/half'), late, 'a body that does not end')
  await t.rejects(client.get('/silent', AbortSignal.abort(new Error('enough'))), { message: 'enough' })
  const controller = new AbortController()
  const aborted = client.get('/half', controller.signal)
  controller.abort(new Error('enough'))
  await t.rejects(aborted, { message: 'enough' })
  const running = client.get('/silent')
  client.close()
  await t.rejects(running, { code: 'CANCELLED' })
  await t.rejects(client.get('/later'), { code: 'CANCELLED' })
})

t.test('a stream outlives the deadline of a call, and ends with its signal', async (t) => {
  const timeoutMs = 2_000
  const { server, client } = await serverAndClient(t, { timeoutMs })
  await warmUp(server, client)
  let write: (text: string) => void = () => undefined
  server.intercept = (_, res) => {
    res.writeHead(200).flushHeaders()
    write = (text) => void res.write(text)
    return true
  }
  const controller = new AbortController()
  const stream = await client.stream('/log?follow=true', controller.signal)
  const seen: unknown[] = []
  const reading = (async () => {
    for await (const text of stream) seen.push(text)
  })()
  await new Promise((resolve) => setTimeout(resolve, timeoutMs + 100))
  write('one')
  await until('it has come', () => seen.length === 1)
  controller.abort(new Error('enough'))
  await t.rejects(reading, { message: 'enough' })
  t.same(seen, ['one'])
  server.intercept = undefined
  await t.rejects(client.stream('/api/v1/things/x'), { code: 'NOT_FOUND' })
})

t.test('no connection', async (t) => {
  const { server, client } = await serverAndClient(t)
  await client.create(path, configMap('a'))
  await server.stop()
  await t.rejects(client.get(`${path}/a`), {
    code: 'UNAVAILABLE',
    message: /no connection to the API server .*REFUSED/,
  })
  await server.start()
  t.match(await client.get(`${path}/a`), { metadata: { name: 'a' } })
})

t.test('a kept connection that is closed as the call goes out', async (t) => {
  const { server, client } = await serverAndClient(t)
  let resets = 1
  server.intercept = (_, res) => {
    resets -= 1
    if (resets < 0) return false
    res.socket?.destroy()
    return true
  }
  server.store.put('/api/v1/nodes', { metadata: { name: 'n' } })
  t.match(await client.get('/api/v1/nodes/n'), { metadata: { name: 'n' } })
  resets = 1
  await t.rejects(client.create(path, configMap('a')), { code: 'UNAVAILABLE' }, 'it may have been done')
  resets = 5
  await t.rejects(client.get('/api/v1/nodes/n'), { code: 'UNAVAILABLE' }, 'no third try')
})

t.test('one connection for many calls', async (t) => {
  const { server, client } = await serverAndClient(t)
  server.store.put('/api/v1/nodes', { metadata: { name: 'n' } })
  const ports = new Set<number | undefined>()
  server.intercept = (_, res) => {
    ports.add(res.socket?.remotePort)
    return false
  }
  for (let n = 0; n < 10; n += 1) await client.get('/api/v1/nodes/n')
  t.equal(ports.size, 1)
})

t.test('a token that was replaced: taken at once when the old one is refused', async (t) => {
  const server = await testApiServer()
  t.teardown(() => server.stop())
  const serviceAccountFolder = await serviceAccount(t, server, 'old')
  const env = { KUBERNETES_SERVICE_HOST: 'localhost', KUBERNETES_SERVICE_PORT: String(server.port) }
  const client = await openApiClient({ userAgent: 'x', log: silent, env, serviceAccountFolder })
  t.teardown(() => client.close())
  server.store.put('/api/v1/nodes', { metadata: { name: 'n' } })
  server.intercept = ({ headers }, res) => {
    if (headers.authorization === 'Bearer new') return false
    status(res, 401, 'Unauthorized', 'Unauthorized')
    return true
  }
  await t.rejects(client.get('/api/v1/nodes/n'), { code: 'PERMISSION_DENIED' })
  t.equal(server.calls.length, 2)
  await writeFile(join(serviceAccountFolder, 'token'), 'new')
  t.match(await client.get('/api/v1/nodes/n'), { metadata: { name: 'n' } })
  t.same(
    server.calls.map(({ headers }) => headers.authorization),
    ['Bearer old', 'Bearer old', 'Bearer old', 'Bearer new'],
  )
})

t.test('a token is read again each minute, and kept when that fails', async (t) => {
  const server = await testApiServer()
  t.teardown(() => server.stop())
  const folder = await serviceAccount(t, server, 'old')
  const clock = handClock()
  const access = await inCluster({ host: '::1', port: '443' }, clock, folder)
  t.equal(access.server.href, 'https://[::1]/')
  const token = async () => (await access.credentials(false)).headers['authorization']
  await writeFile(join(folder, 'token'), 'new')
  t.equal(await token(), 'Bearer old')
  clock.advance(60_000)
  t.equal(await token(), 'Bearer new')
  await writeFile(join(folder, 'token'), 'newest')
  t.equal((await access.credentials(true)).headers['authorization'], 'Bearer newest')
  clock.advance(60_000)
  await writeFile(join(folder, 'ca.crt'), '')
  t.equal(await token(), 'Bearer newest', 'half of it is nothing')
  await t.rejects(inCluster({ host: 'h', port: '1' }, clock, folder), { message: /no ca.crt: .*empty/ })
  const gone = await inCluster({ host: 'h', port: '1' }, clock, '/nowhere').catch((err: unknown) => err)
  t.match(gone, { code: 'FAILED_PRECONDITION', message: /service account has no token/ })
})

t.test('at most so many calls a second', async (t) => {
  const { server, client } = await serverAndClient(t, { qps: 50, burst: 5 })
  server.store.put('/api/v1/nodes', { metadata: { name: 'n' } })
  const began = Date.now()
  await Promise.all(Array.from({ length: 15 }, () => client.get('/api/v1/nodes/n')))
  // Ten of them wait for 20 ms each: less cannot be, more may be.
  t.ok(Date.now() - began >= 180)
})

t.test('a server that accepts and never speaks', async (t) => {
  const sockets: Socket[] = []
  const mute = createServer((socket) => void sockets.push(socket))
  await new Promise<void>((done) => mute.listen(0, '127.0.0.1', done))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    mute.close()
  })
  const address = mute.address()
  const port = typeof address === 'object' ? String(address?.port) : ''
  const { server } = await serverAndClient(t)
  const client = await openApiClient({
    userAgent: 'x',
    log: silent,
    timeoutMs: 200,
    env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: port },
    serviceAccountFolder: await serviceAccount(t, server),
  })
  t.teardown(() => client.close())
  await t.rejects(client.get('/version'), { code: 'DEADLINE_EXCEEDED' })
})

t.test('a server that somebody else plays is not talked to', async (t) => {
  const { server } = await serverAndClient(t)
  const other = await testApiServer()
  t.teardown(() => other.stop())
  const client = await openApiClient({
    userAgent: 'x',
    log: silent,
    env: { KUBERNETES_SERVICE_HOST: 'localhost', KUBERNETES_SERVICE_PORT: String(other.port) },
    serviceAccountFolder: await serviceAccount(t, server),
  })
  t.teardown(() => client.close())
  await t.rejects(client.get('/version'), { code: 'UNAVAILABLE' })
  t.equal(other.calls.length, 0)
})

t.test('the version of the server', async (t) => {
  const { server, client } = await serverAndClient(t)
  server.intercept = (_, res) => {
    res.writeHead(200).end(JSON.stringify({ major: '1', minor: '37+', gitVersion: 'v1.37.2-gke.1' }))
    return true
  }
  t.same(await serverVersion(client), { major: 1, minor: 37, text: 'v1.37.2-gke.1' })
  t.equal(server.calls[0]?.path, '/version')
})

import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { silent } from '@nsm/sdk/log.js'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { testApiServer, type TestApiServer } from '../kit/api-server.ts'

const setup = async (t: Test): Promise<{ server: TestApiServer; folder: string }> => {
  const server = await testApiServer()
  server.store.put('/api/v1/nodes', { metadata: { name: 'n' } })
  const folder = await mkdtemp(join(tmpdir(), 'nsm-kubeconfig-'))
  t.teardown(async () => {
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  })
  return { server, folder }
}

const config = (server: TestApiServer, user: object, context = 'main') => {
  const data = Buffer.from(server.ca).toString('base64')
  const cluster = { server: `https://localhost:${server.port}`, 'certificate-authority-data': data }
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': context,
    clusters: [{ name: `cluster-${context}`, cluster }],
    users: [{ name: `user-${context}`, user }],
    contexts: [
      {
        name: context,
        context: { cluster: `cluster-${context}`, user: `user-${context}`, namespace: `ns-${context}` },
      },
    ],
  })
}

const open = async (t: Test, options: Partial<Parameters<typeof openApiClient>[0]>): Promise<ApiClient> => {
  const client = await openApiClient({ userAgent: 'nsm-test', log: silent, env: {}, ...options })
  t.teardown(() => client.close())
  return client
}

t.test('a token, by the option, by KUBECONFIG, by the home', async (t) => {
  const { server, folder } = await setup(t)
  const file = join(folder, 'config')
  await writeFile(file, config(server, { token: 'secret' }))
  const byOption = await open(t, { kubeconfig: file })
  const byVariable = await open(t, { env: { KUBECONFIG: file, KUBERNETES_SERVICE_HOST: 'nowhere.invalid' } })
  await mkdir(join(folder, '.kube'))
  await copyFile(file, join(folder, '.kube', 'config'))
  const byHome = await open(t, { env: { HOME: folder } })
  for (const client of [byOption, byVariable, byHome]) {
    t.equal(client.namespace, 'ns-main')
    t.match(await client.get('/api/v1/nodes/n'), { metadata: { name: 'n' } })
  }
  t.same(
    server.calls.map(({ headers }) => headers.authorization),
    ['Bearer secret', 'Bearer secret', 'Bearer secret'],
  )
})

t.test('several files and contexts', async (t) => {
  const { server, folder } = await setup(t)
  const files = [join(folder, 'a'), join(folder, 'b')]
  await writeFile(files[0] ?? '', config(server, { token: 'a' }, 'first'))
  await writeFile(files[1] ?? '', config(server, { token: 'b' }, 'second'))
  const env = { KUBECONFIG: files.join(':') }
  const first = await open(t, { env })
  const second = await open(t, { env, context: 'second' })
  await first.get('/api/v1/nodes/n')
  await second.get('/api/v1/nodes/n')
  t.same([first.namespace, second.namespace], ['ns-first', 'ns-second'])
  t.same(
    server.calls.map(({ headers }) => headers.authorization),
    ['Bearer a', 'Bearer b'],
  )
  await t.rejects(open(t, { env, context: 'third' }), {
    code: 'INVALID_ARGUMENT',
    message: /no context "third" in/,
  })
})

t.test('credentials of a program', async (t) => {
  const { server, folder } = await setup(t)
  const program = join(folder, 'login')
  const credential = {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    status: { token: 'made' },
  }
  await writeFile(program, `#!/bin/sh\necho '${JSON.stringify(credential)}'\n`)
  await chmod(program, 0o755)
  const file = join(folder, 'config')
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: program, interactiveMode: 'Never' }
  await writeFile(file, config(server, { exec }))
  const client = await open(t, { kubeconfig: file })
  await client.get('/api/v1/nodes/n')
  t.equal(server.calls[0]?.headers.authorization, 'Bearer made')
  await writeFile(file, config(server, { exec: { ...exec, command: join(folder, 'none') } }))
  const broken = await open(t, { kubeconfig: file })
  await t.rejects(broken.get('/api/v1/nodes/n'), { code: 'UNAUTHENTICATED', message: /no credentials/ })
})

t.test('files that are wrong', async (t) => {
  const { folder } = await setup(t)
  const file = join(folder, 'config')
  await t.rejects(open(t, { kubeconfig: file }), {
    code: 'INVALID_ARGUMENT',
    message: /kubeconfig: .*config/,
  })
  for (const text of ['', '[', 'a: 1', stringify({ contexts: [], clusters: [], users: [] })]) {
    await writeFile(file, text)
    await t.rejects(open(t, { kubeconfig: file }), { code: 'INVALID_ARGUMENT' }, JSON.stringify(text))
  }
})

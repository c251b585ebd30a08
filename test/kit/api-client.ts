import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ApiClient } from '@nsm/kubernetes/api-client.js'
import { openApiClient, type ClientOptions } from '@nsm/kubernetes/open-client.js'
import { silent } from '@nsm/sdk/log.js'
import type { Test } from 'tap'
import { testApiServer, type TestApiServer } from './api-server.ts'

/** A server, and a client of it as pods have one. */
export interface ServerAndClient {
  readonly server: TestApiServer
  readonly client: ApiClient
}

/** A folder as kubelet gives it to a pod; gone after the test. */
export async function serviceAccount(t: Test, server: TestApiServer, token = 'token-1'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-account-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await writeFile(join(folder, 'token'), `${token}\n`)
  await writeFile(join(folder, 'ca.crt'), server.ca)
  await writeFile(join(folder, 'namespace'), 'nsm-system')
  return folder
}

/** Both, until the test ends. */
export async function serverAndClient(
  t: Test,
  options: Partial<ClientOptions> = {},
): Promise<ServerAndClient> {
  const server = await testApiServer()
  t.teardown(() => server.stop())
  const client = await openApiClient({
    userAgent: 'nsm-test/1',
    log: silent,
    qps: 10_000,
    env: { KUBERNETES_SERVICE_HOST: 'localhost', KUBERNETES_SERVICE_PORT: String(server.port) },
    serviceAccountFolder: await serviceAccount(t, server),
    ...options,
  })
  t.teardown(() => client.close())
  return { server, client }
}

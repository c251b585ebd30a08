import { silent } from '@nsm/sdk/log.js'
import { bundleWriter, webhookConfigurations, type BundleWriter } from '@nsm/webhook/bundle-writer.js'
import t, { type Test } from 'tap'
import { serverAndClient } from '../kit/api-client.js'
import type { SeenCall, TestApiServer } from '../kit/api-server.js'

const service = { name: 'nsm-webhook', namespace: 'nsm' }

function configure({ store }: TestApiServer): void {
  const webhooks = [{ name: 'w.example.com', clientConfig: { service } }]
  store.put(webhookConfigurations, { kind: 'M', metadata: { name: 'nsm' }, webhooks })
}

async function world(
  t: Test,
): Promise<{ server: TestApiServer; writer: BundleWriter; written: () => string[] }> {
  const { server, client } = await serverAndClient(t)
  configure(server)
  const writer = bundleWriter({ client, name: 'nsm', service, log: silent })
  t.teardown(() => writer.close())
  const bundle = ({ body }: SeenCall): string =>
    (body as { path: string; value: string }[])
      .filter(({ path }) => path.endsWith('/caBundle'))
      .map(({ value }) => Buffer.from(value, 'base64').toString())
      .join()
  const written = (): string[] => server.calls.filter(({ method }) => method === 'PATCH').map(bundle)
  return { server, writer, written }
}

t.test('a write that is overtaken is tried again, with what is wanted by then', async (t) => {
  const { server, writer, written } = await world(t)
  server.intercept = ({ method }) => {
    if (method === 'PATCH' && written().length === 1) configure(server)
    return false
  }
  await Promise.all([writer.write('A'), writer.write('AB')])
  t.same(written(), ['A', 'AB'], 'one at a time: the first was overtaken')
})

t.test('what is wanted while a write runs is there when both have ended', async (t) => {
  const { server, writer, written } = await world(t)
  let second: Promise<void> | undefined
  server.intercept = ({ method }) => {
    if (method === 'PATCH') second ??= writer.write('AB')
    return false
  }
  await writer.write('A')
  await second
  t.same(written(), ['A', 'AB'])
})

t.test('rewriting tells whether there was anything to write', async (t) => {
  const { server, writer, written } = await world(t)
  await writer.write('A')
  t.equal(await writer.rewrite(), false)
  configure(server)
  t.equal(await writer.rewrite(), true)
  t.same(written(), ['A', 'A'])
})

t.test('whoever is always overtaken gives up', async (t) => {
  const { server, writer, written } = await world(t)
  server.intercept = ({ method }) => {
    if (method === 'PATCH') configure(server)
    return false
  }
  await t.rejects(writer.write('A'), { code: 'ABORTED' })
  t.equal(written().length, 10)
})

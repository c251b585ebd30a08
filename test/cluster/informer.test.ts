import type { ApiClient, KubernetesObject } from '@nsm/kubernetes/api-client.js'
import { eventRecorder } from '@nsm/kubernetes/events.js'
import { informer } from '@nsm/kubernetes/informer.js'
import { keptSecret } from '@nsm/kubernetes/kept-secret.js'
import { listAll } from '@nsm/kubernetes/list.js'
import { openApiClient } from '@nsm/kubernetes/open-client.js'
import { serverVersion } from '@nsm/kubernetes/version.js'
import { silent } from '@nsm/sdk/log.js'
import t, { type Test } from 'tap'
import { until } from '../kit/until.ts'
import { kubernetesWorld, type PodAccess } from './kubernetes-world.ts'

const world = await kubernetesWorld(t, 'informer')
const collection = '/api/v1/namespaces/nsm-system/configmaps'
const never = new AbortController().signal

const open = async (t: Test, { env, serviceAccountFolder }: PodAccess): Promise<ApiClient> => {
  const client = await openApiClient({
    userAgent: 'nsm-test/1',
    log: silent,
    qps: 1000,
    env,
    serviceAccountFolder,
  })
  t.teardown(() => client.close())
  return client
}

const configMap = (name: string, value: string): KubernetesObject => ({
  metadata: { name, labels: { mine: 'yes' } },
  data: { value },
})

const select = { labelSelector: 'mine=yes' }

t.test('the server says who it is', async (t) => {
  t.match(await serverVersion(world.client), { major: 1, minor: 37, text: /^v1\.37/ })
})

t.test('a collection of several pages is followed, over restarts of the server', async (t) => {
  const access = await world.account(t, 'reader', [
    { namespace: 'nsm-system', apiGroups: [''], resources: ['configmaps'], verbs: ['list', 'watch'] },
  ])
  const client = await open(t, access)
  const many = Array.from({ length: 1100 }, (_, at) => configMap(`m${at}`, 'a'))
  for (let at = 0; at < many.length; at += 50)
    await Promise.all(many.slice(at, at + 50).map((one) => world.client.create(collection, one)))

  const all = informer<KubernetesObject>({ client, path: collection, select, log: silent })
  t.teardown(() => all.close())
  const changes: string[] = []
  await all.whenSynced()
  all.onChange(({ type, object }) => void changes.push(`${type} ${object.metadata.name}`))
  t.equal(all.size, 1100)
  t.match(all.get('nsm-system', 'm7'), { apiVersion: 'v1', kind: 'ConfigMap', data: { value: 'a' } })
  t.equal(all.get('nsm-system', 'm7')?.metadata['managedFields'], undefined)

  const same = async (): Promise<boolean> => {
    const { items } = await listAll<KubernetesObject>({ client, path: collection, select, signal: never })
    const versions = (objects: Iterable<KubernetesObject>): string =>
      [...objects]
        .map(({ metadata: { uid, resourceVersion } }) => `${uid} ${resourceVersion}`)
        .sort()
        .join()
    return versions(items) === versions(all.values())
  }
  await world.client.patch(`${collection}/m1`, { data: { value: 'b' } }, 'merge')
  await world.client.delete(`${collection}/m2`)
  await until('the changes have come', () => changes.length === 2)
  t.same(changes, ['modified m1', 'deleted m2'])
  t.ok(await same())

  for (const round of [1, 2]) {
    changes.length = 0
    await world.stopApiServer()
    t.equal(all.size, 1099, 'what was known is still there')
    await world.startApiServer()
    await world.client.delete(`${collection}/m${round * 10}`)
    await world.client.create(collection, configMap(`m${round * 10}`, 'again'))
    await world.client.patch(`${collection}/m${round * 10 + 1}`, { data: { value: 'c' } }, 'merge')
    await untilSame(same)
    const expected = [`m${round * 10}`, `m${round * 10 + 1}`]
    t.same(
      [...new Set(changes.map((change) => change.split(' ')[1]))].toSorted((a = '', b = '') =>
        a < b ? -1 : 1,
      ),
      expected,
      'nothing else is told',
    )
    t.equal(all.get('nsm-system', `m${round * 10}`)?.['data'] !== undefined, true)
  }
})

/** The next try after a restart may be 15 s away. */
const untilSame = async (same: () => Promise<boolean>): Promise<void> => {
  for (let waits = 0; !(await same()); waits += 1) {
    if (waits === 60) throw new Error('it does not come to know what the server has')
    await new Promise((resolve) => setTimeout(resolve, 1_000))
  }
}

t.test('errors are those of the real server', async (t) => {
  const { client } = world
  const path = `${collection}/errors`
  const made = await client.create(collection, configMap('errors', 'a'))
  await t.rejects(client.create(collection, configMap('errors', 'a')), { code: 'ALREADY_EXISTS' })
  await client.patch(path, { data: { value: 'b' } }, 'strategic')
  await t.rejects(client.replace(path, made), {
    code: 'ABORTED',
    message: /the object has been modified.*\(Conflict\)/,
  })
  await t.rejects(client.create(collection, { metadata: { name: 'No Name' } }), {
    code: 'INVALID_ARGUMENT',
    message: /metadata\.name.*\(Invalid\)/,
  })
  await t.rejects(client.delete(path, { uid: 'another' }), { code: 'ABORTED' })
  const applied = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'errors' }, data: { mine: 'x' } }
  t.match(await client.patch(path, applied, 'apply'), { data: { value: 'b', mine: 'x' } })
  await client.delete(path)
  await t.rejects(client.get(path), {
    code: 'NOT_FOUND',
    message: /configmaps "errors" not found \(NotFound\)$/,
  })
  await t.rejects(client.get(`${collection}?resourceVersion=999999999&resourceVersionMatch=NotOlderThan`), {
    code: 'OUT_OF_RANGE',
    message: /Too large resource version/,
  })
  const nobody = await open(t, await world.account(t, 'nobody', []))
  await t.rejects(nobody.get(path), { code: 'PERMISSION_DENIED', message: /cannot get.*\(Forbidden\)$/ })
})

t.test('an Event that the server takes, counted up', async (t) => {
  const access = await world.account(t, 'recorder', [
    { namespace: 'nsm-system', apiGroups: [''], resources: ['events'], verbs: ['create', 'patch'] },
    { namespace: 'default', apiGroups: [''], resources: ['events'], verbs: ['create'] },
  ])
  const client = await open(t, access)
  const recorder = eventRecorder({ client, component: 'nsm-test', instance: 'pod-1', log: silent })
  t.teardown(() => recorder.close())
  const namespace = 'nsm-system'
  const event = {
    regarding: { apiVersion: 'v1', kind: 'Pod', namespace, name: 'a', uid: 'uid-a' },
    type: 'Warning' as const,
    reason: 'NetworkServiceFailed',
    message: 'ä'.repeat(2000),
  }
  recorder.record(event)
  const selector = '?fieldSelector=involvedObject.uid=uid-a'
  const events = async (): Promise<readonly KubernetesObject[]> =>
    (
      await listAll<KubernetesObject>({
        client: world.client,
        path: `/api/v1/namespaces/${namespace}/events${selector}`,
        select: {},
        signal: never,
      })
    ).items
  await until('it is there', async () => (await events()).length === 1)
  recorder.record(event)
  await until('it is counted', async () => (await events())[0]?.['count'] === 2)
  recorder.record({ ...event, regarding: { apiVersion: 'v1', kind: 'Node', name: 'n', uid: 'n' } })
  await recorder.close()
  t.equal(recorder.dropped, 0)
  t.match((await events())[0], { type: 'Warning', source: { component: 'nsm-test', host: 'pod-1' } })
})

t.test('a kept secret needs rights on that secret alone', async (t) => {
  const secrets = '/api/v1/namespaces/nsm-system/secrets'
  await world.client.create(secrets, { metadata: { name: 'ca' }, type: 'Opaque' })
  await world.client.create(secrets, { metadata: { name: 'other' }, data: { a: 'eA==' } })
  const access = await world.account(t, 'keeper', [
    {
      namespace: 'nsm-system',
      apiGroups: [''],
      resources: ['secrets'],
      resourceNames: ['ca'],
      verbs: ['get', 'list', 'watch', 'update'],
    },
  ])
  const client = await open(t, access)
  const replicas = await Promise.all(
    Array.from({ length: 3 }, () => keptSecret({ client, namespace: 'nsm-system', name: 'ca', log: silent })),
  )
  t.teardown(() => replicas.forEach((kept) => kept.close()))
  await Promise.all(
    replicas.map((kept, at) =>
      kept.update(async (data) => ({ ...data, [`key-${at}`]: Buffer.from(`${at}`) })),
    ),
  )
  await until('all know all', () => replicas.every((kept) => Object.keys(kept.read()).length === 3))
  await t.rejects(client.get(`${secrets}/other`), { code: 'PERMISSION_DENIED' })
  await t.rejects(client.get(secrets), { code: 'PERMISSION_DENIED' })
})

import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Client, credentials, status, type ServiceError } from '@grpc/grpc-js'
import { startCsiDriver, type CsiDriver } from '@nsm/agent/csi/driver.js'
import { IdentityDefinition, NodeDefinition, NodePublishVolumeRequest } from '@nsm/api/gen/csi.js'
import { RegistrationDefinition } from '@nsm/api/gen/pluginregistration.js'
import { native } from '@nsm/native/native.js'
import { silent } from '@nsm/sdk/log.js'
import t, { type Test } from 'tap'
import { withoutUnknown } from '../../kit/messages.ts'

const name = 'csi.networkservicemesh.io'

interface Codec {
  encode(message: never): { finish(): Uint8Array }
  decode(bytes: Uint8Array): unknown
  fromPartial(message: object): unknown
}
interface Definition {
  readonly fullName: string
  readonly methods: Readonly<Record<string, { name: string; requestType: Codec; responseType: Codec }>>
}

/** One call by another implementation's client. */
async function call(
  socket: string,
  service: Definition,
  method: string,
  request: object = {},
): Promise<unknown> {
  const client = new Client(`unix://${socket}`, credentials.createInsecure())
  const rpc = service.methods[method]
  const path = `/${service.fullName}/${rpc?.name ?? method}`
  const encode = (message: object): Buffer =>
    Buffer.from(rpc?.requestType.encode(rpc.requestType.fromPartial(message) as never).finish() ?? [])
  const decode = (bytes: Buffer): unknown => withoutUnknown(rpc?.responseType.decode(bytes))
  try {
    return await new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, encode, decode, request, (err: ServiceError | null, answer: unknown) =>
        err === null ? resolve(answer) : reject(err),
      )
    })
  } finally {
    client.close()
  }
}

/** kubelet's folder, on a file system that goes with the test, and a driver for it. */
async function node(t: Test): Promise<{
  readonly kubelet: string
  readonly source: string
  readonly csi: string
  readonly registration: string
  target(pod: string): Promise<string>
  publish(target: string, changes?: Partial<NodePublishVolumeRequest>): Promise<unknown>
  unpublish(target: string): Promise<unknown>
  start(): Promise<CsiDriver>
}> {
  const root = await mkdtemp(join(tmpdir(), 'nsm-csi-'))
  await promisify(execFile)('mount', ['-t', 'tmpfs', 'nsm-test', root])
  t.teardown(async () => {
    await native.unmount(root)
    await rmdir(root)
  })
  const [kubelet, source] = [join(root, 'kubelet'), join(root, 'nsm')]
  const csi = join(kubelet, 'plugins', name, 'csi.sock')
  return {
    kubelet,
    source,
    csi,
    registration: join(kubelet, 'plugins_registry', `${name}-reg.sock`),
    async target(pod) {
      const parent = join(kubelet, 'pods', pod, 'volumes/kubernetes.io~csi/nsm')
      await mkdir(parent, { recursive: true })
      return join(parent, 'mount')
    },
    publish: (targetPath, changes = {}) =>
      call(csi, NodeDefinition, 'nodePublishVolume', {
        volumeId: 'csi-1',
        targetPath,
        volumeCapability: { accessType: { $case: 'mount', value: {} } },
        readonly: true,
        volumeContext: { 'csi.storage.k8s.io/ephemeral': 'true', 'csi.storage.k8s.io/pod.name': 'p' },
        ...changes,
      }),
    unpublish: (targetPath) =>
      call(csi, NodeDefinition, 'nodeUnpublishVolume', { volumeId: 'csi-1', targetPath }),
    async start() {
      const driver = await startCsiDriver({
        driver: name,
        source,
        kubeletFolder: kubelet,
        nodeId: 'node-1',
        log: silent,
      })
      t.teardown(() => driver.close())
      return driver
    },
  }
}

async function mountsBelow(folder: string): Promise<readonly string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n')
  return lines.flatMap((line) => {
    const [, , , , point = '', options = ''] = line.split(' ')
    return point.startsWith(`${folder}/`) ? [`${point} ${options}`] : []
  })
}

t.test('kubelet learns of the driver and who it is', async (t) => {
  const { registration, csi, source, start } = await node(t)
  const driver = await start()
  t.same(await call(registration, RegistrationDefinition, 'getInfo'), {
    type: 'CSIPlugin',
    name,
    endpoint: csi,
    supportedVersions: ['1.0.0'],
  })
  await call(registration, RegistrationDefinition, 'notifyRegistrationStatus', { pluginRegistered: true })
  await call(registration, RegistrationDefinition, 'notifyRegistrationStatus', { error: 'no' })
  t.match(await call(csi, IdentityDefinition, 'getPluginInfo'), { name, vendorVersion: /^\d+\.\d+\.\d+$/ })
  t.same(await call(csi, IdentityDefinition, 'getPluginCapabilities'), {})
  t.same(await call(csi, IdentityDefinition, 'probe'), {})
  t.same(await call(csi, NodeDefinition, 'nodeGetCapabilities'), {})
  t.same(await call(csi, NodeDefinition, 'nodeGetInfo'), { nodeId: 'node-1' })
  await t.rejects(call(csi, NodeDefinition, 'NodeStageVolume'), { code: status.UNIMPLEMENTED })
  t.equal((await stat(csi)).mode & 0o777, 0o600)
  t.equal((await stat(registration)).mode & 0o777, 0o600)
  t.equal((await stat(source)).mode & 0o777, 0o755)
  await driver.close()
  t.notOk(existsSync(registration))
  t.notOk(existsSync(csi))
})

t.test('a pod sees the folder, read-only, and what comes into it later', async (t) => {
  const { kubelet, source, target, publish, unpublish, start } = await node(t)
  await start()
  const path = await target('a')
  await publish(path)
  await publish(path)
  const [mount, ...more] = await mountsBelow(kubelet)
  t.same(more, [])
  t.match(mount, new RegExp(`^${path} ro,nosuid,nodev,noexec`))
  await writeFile(join(source, 'nsm.io.sock'), '')
  t.same(await readdir(path), ['nsm.io.sock'])
  await t.rejects(writeFile(join(path, 'x'), ''), { code: 'EROFS' })
  await unpublish(path)
  t.notOk(existsSync(path))
  await unpublish(path)
  t.same(await mountsBelow(kubelet), [])
  t.same(await readdir(source), ['nsm.io.sock'])
})

t.test('another driver process takes over, also when the source has gone', async (t) => {
  const { kubelet, source, target, publish, unpublish, start } = await node(t)
  const first = await start()
  const [a, b] = [await target('a'), await target('b')]
  await publish(a)
  await publish(b)
  await first.close()
  t.equal((await mountsBelow(kubelet)).length, 2)
  await rename(source, `${source}-old`)
  await start()
  await publish(b)
  t.equal((await mountsBelow(kubelet)).length, 2, 'what was shown before gives way')
  await writeFile(join(source, 'new'), '')
  t.same(await readdir(b), ['new'])
  await rm(`${source}-old`, { recursive: true })
  await rm(source, { recursive: true })
  await t.rejects(publish(await target('c')), { code: status.UNAVAILABLE, details: /nsm is not there/ })
  await unpublish(a)
  await unpublish(b)
  t.same(await mountsBelow(kubelet), [])
  await rm(join(kubelet, 'pods/a'), { recursive: true })
  await unpublish(a)
})

t.test('a crash leaves sockets and a half made target; the next one goes on from there', async (t) => {
  const { kubelet, csi, target, publish, unpublish, start } = await node(t)
  const left = promisify(execFile)(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(csi)}, () => process.kill(process.pid, 9))`,
  ])
  await mkdir(join(csi, '..'), { recursive: true })
  await left.catch(() => undefined)
  t.ok((await stat(csi)).isSocket())
  await start()
  const path = await target('a')
  await mkdir(path)
  await native.bindMount('/etc', path)
  await publish(path)
  t.same(await readdir(path), [])
  await unpublish(path)
  t.same(await mountsBelow(kubelet), [])
})

t.test('only the one kind of volume is there', async (t) => {
  const { kubelet, target, publish, start } = await node(t)
  await start()
  const path = await target('a')
  const refused = async (changes: Partial<NodePublishVolumeRequest>, details: RegExp): Promise<void> => {
    await t.rejects(publish(path, changes), { code: status.INVALID_ARGUMENT, details })
  }
  await refused({ readonly: false }, /^volume must have readOnly: true$/)
  await refused({ volumeContext: {} }, /csi\.storage\.k8s\.io\/ephemeral must be "true"/)
  await refused({ volumeCapability: { accessType: { $case: 'block', value: {} } } }, /must be a mount/)
  await refused(
    { volumeCapability: undefined, volumeId: '' },
    /^volume_id is missing; volume_capability must/,
  )
  t.notOk(existsSync(path))
  t.same(await mountsBelow(kubelet), [])
})

t.test('nothing is mounted or removed outside of pods', async (t) => {
  const { kubelet, source, target, publish, unpublish, start } = await node(t)
  await start()
  const inside = await target('a')
  await symlink(source, join(kubelet, 'pods/link'))
  for (const path of [
    '',
    'pods/x',
    source,
    join(kubelet, 'pods'),
    `${kubelet}/pods/../../nsm`,
    `${kubelet}/pods/a/./x`,
    `${kubelet}/pods/a/`,
    `${kubelet}/pods/link/x`,
    `${inside}/`,
  ]) {
    await t.rejects(publish(path), { code: status.INVALID_ARGUMENT }, path)
    await t.rejects(unpublish(path), { code: status.INVALID_ARGUMENT }, path)
  }
  await t.rejects(publish(`${kubelet}/pods/none/x`), {
    code: status.INVALID_ARGUMENT,
    details: /does not exist/,
  })
  t.same(await mountsBelow(kubelet), [])
  t.same(await readdir(source), [])
})

t.test('a folder with files of somebody else is not emptied', async (t) => {
  const { target, unpublish, start } = await node(t)
  await start()
  const path = await target('a')
  await mkdir(path)
  await writeFile(join(path, 'precious'), '')
  await t.rejects(unpublish(path), { code: status.INTERNAL, details: /ENOTEMPTY/ })
  t.same(await readdir(path), ['precious'])
})

t.test('kubelet may ask many times at once', async (t) => {
  const { kubelet, target, publish, unpublish, start } = await node(t)
  await start()
  const targets = await Promise.all(Array.from({ length: 40 }, (_, n) => target(`pod-${n}`)))
  await Promise.all(targets.flatMap((path) => [publish(path), publish(path)]))
  t.equal((await mountsBelow(kubelet)).length, 40)
  await Promise.all(targets.flatMap((path) => [unpublish(path), unpublish(path)]))
  t.same(await mountsBelow(kubelet), [])
})

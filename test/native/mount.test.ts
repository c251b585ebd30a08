import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { addon, unwrap } from '@nsm/native/addon.js'
import { native } from '@nsm/native/native.js'
import t, { type Test } from 'tap'

/** Two folders on a file system of the test's own, which goes with the test together with whatever is mounted in it. */
async function folders(t: Test): Promise<{ source: string; target: string }> {
  const root = await mkdtemp(join(tmpdir(), 'nsm-mount-'))
  await promisify(execFile)('mount', ['-t', 'tmpfs', 'nsm-test', root])
  t.teardown(async () => {
    await native.unmount(root)
    await rmdir(root)
  })
  const [source, target] = [join(root, 'source'), join(root, 'target')]
  await Promise.all([mkdir(source), mkdir(target)])
  await writeFile(join(source, 'file'), 'x')
  return { source, target }
}

const limits = ['ro', 'nosuid', 'nodev', 'noexec']

/** Which of the limits the mount at a path has, as the kernel tells; undefined = nothing is mounted there. */
async function limitsAt(path: string): Promise<readonly string[] | undefined> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').map((line) => line.split(' '))
  return lines
    .find((fields) => fields[4] === path)?.[5]
    ?.split(',')
    .filter((one) => limits.includes(one))
}

t.test('a folder is shown elsewhere, read-only, and follows what happens in it', async (t) => {
  const { source, target } = await folders(t)
  await native.bindMount(source, target)
  t.same(await limitsAt(target), limits)
  t.equal(await readFile(join(target, 'file'), 'utf8'), 'x')
  await t.rejects(writeFile(join(target, 'new'), ''), { code: 'EROFS' })
  await writeFile(join(source, 'later'), 'y')
  t.equal(await readFile(join(target, 'later'), 'utf8'), 'y')
  t.equal(await native.unmount(target), true)
  t.equal(await limitsAt(target), undefined)
  t.equal(await native.unmount(target), false)
})

t.test('an older kernel gets there in two steps', async (t) => {
  const { source, target } = await folders(t)
  unwrap(await addon().bindMount(source, target, 1))
  t.same(await limitsAt(target), limits)
})

t.test('what fails names the path', async (t) => {
  const { source, target } = await folders(t)
  await t.rejects(native.bindMount('/no/such', target), { code: 'ENOENT', object: '/no/such' })
  await t.rejects(native.bindMount(source, '/no/such'), { code: 'ENOENT', operation: 'move_mount' })
  await t.rejects(native.bindMount(source, join(source, 'file')), { code: 'EINVAL' })
  await t.rejects(native.unmount('a\0b'), { code: 'EINVAL', message: /zero byte/ })
  t.equal(await native.unmount('/no/such'), false)
})

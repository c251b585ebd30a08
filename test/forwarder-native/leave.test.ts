import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { followLeaveFile } from '@nsm/forwarder-native/leave.js'
import { silent } from '@nsm/sdk/log.js'
import { checks } from '@nsm/sdk/process/checks.js'
import t, { type Test } from 'tap'
import { until } from '../kit/until.ts'

async function following(t: Test, fault?: Error) {
  const folder = await mkdtemp(join(tmpdir(), 'leave-'))
  const path = join(folder, 'leave')
  const steps: string[] = []
  const ready = checks()
  const follow = await followLeaveFile(path, {
    log: silent,
    ready,
    leave: async () => steps.push('connections'),
    removeLinks: async () => {
      if (fault !== undefined) throw fault
      steps.push('links')
    },
  })
  t.teardown(async () => {
    follow.close()
    await rm(folder, { recursive: true })
  })
  return { path, steps, ready }
}

t.test('leaves once the file says so, and is not ready when all is gone', async (t) => {
  const { path, steps, ready } = await following(t)
  await writeFile(path, '')
  await writeFile(path, 'false')
  await new Promise((done) => setTimeout(done, 100))
  t.same(steps, [])
  t.ok(ready.report().ready)
  await writeFile(path, 'true\n')
  await until('it has left', () => !ready.report().ready)
  t.same(steps, ['connections', 'links'])
  await writeFile(path, 'true')
  await new Promise((done) => setTimeout(done, 100))
  t.same(steps, ['connections', 'links'])
})

t.test('stays ready while interfaces are still there', async (t) => {
  const { path, steps, ready } = await following(t, new Error('busy'))
  await writeFile(path, 'true')
  await until('connections are closed', () => steps.length === 1)
  await new Promise((done) => setTimeout(done, 50))
  t.ok(ready.report().ready)
})

t.test('without a file nothing is followed', async () => {
  const never = async (): Promise<never> => {
    throw new Error('not to be called')
  }
  const none = await followLeaveFile(undefined, {
    log: silent,
    ready: checks(),
    leave: never,
    removeLinks: never,
  })
  none.close()
})

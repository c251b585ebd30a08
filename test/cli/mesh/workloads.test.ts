import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '@nsm/sdk/clock.js'
import { silent } from '@nsm/sdk/log.js'
import { RunningPod, type NamedPod } from '@nsm/cli/mesh/pod.js'
import { Workloads } from '@nsm/cli/mesh/workloads.js'
import t, { type Test } from 'tap'
import { waitFor } from '../../kit/local-mesh.ts'
import { runnerProgram } from '../../kit/runner.ts'

const skip = process.getuid?.() === 0 ? {} : { skip: 'needs root' }
const pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'n' },
  spec: { terminationGracePeriodSeconds: 0, containers: [{ name: 'c', command: ['sleep', 'infinity'] }] },
} as const

/** Pods on a node whose sandboxes can't be made the first `failures` times. */
function workloads(t: Test, failures: number): { workloads: Workloads; starts: () => number } {
  const folder = mkdtempSync(join(tmpdir(), 'nsm-workloads-'))
  const [runner, log] = [join(folder, 'runner'), join(folder, 'starts')]
  writeFileSync(log, '')
  const script = `[ "$1" = sandbox ] && echo >>${log} && [ $(wc -l <${log}) -le ${failures} ] && { echo no room >&2; exit 1; }`
  writeFileSync(runner, `#!/bin/sh\n${script}\nexec ${runnerProgram()} "$@"\n`)
  chmodSync(runner, 0o755)
  const { signal } = new AbortController()
  const start = (object: NamedPod, how: { uid: string; onChange: () => void }): RunningPod =>
    new RunningPod({
      object,
      uid: how.uid,
      host: {
        name: 'node-1',
        ip: '10.0.0.1',
        nameserver: '10.0.0.1',
        folders: { workloadApi: folder, manager: folder },
        reserveIp: () => '10.0.0.2',
        releaseIp: () => undefined,
        attach: async () => [],
      },
      runner,
      programs: { argv: () => [], env: {}, binds: [] },
      folder: join(folder, 'pod'),
      logFolder: folder,
      clock: systemClock,
      onSandbox: () => undefined,
      onChange: how.onChange,
    })
  const made = new Workloads({
    clock: systemClock,
    log: silent,
    signal,
    admit: async (asked) => ({ pod: asked, warnings: [] }),
    start,
    onGone: () => undefined,
  })
  t.teardown(async () => {
    await made.close()
    rmSync(folder, { recursive: true })
  })
  return { workloads: made, starts: () => readFileSync(log, 'utf8').length }
}

t.test('a pod whose start fails is started again, under its name and UID', skip, async (t) => {
  const { workloads: all, starts } = workloads(t, 2)
  await all.create(pod)
  const [first] = all.list()
  await waitFor('the failure', async () => {
    const [now] = all.list()
    return now?.message.includes('no room') === true ? true : new Error(now?.message)
  })
  t.equal(all.list()[0]?.phase, 'Pending')
  const ready = await waitFor('the pod', async () => {
    const [now] = all.list()
    return now?.ready === true ? now : new Error(now?.message)
  })
  t.equal(ready.phase, 'Running')
  t.equal(ready.uid, first?.uid)
  t.equal(starts(), 3)
})

t.test('one that is deleted meanwhile is not', skip, async (t) => {
  const { workloads: all, starts } = workloads(t, 1_000)
  await all.create(pod)
  await waitFor('two failures', async () => (starts() >= 2 ? true : new Error('not yet')))
  await all.remove('n', 'p')
  const then = starts()
  t.strictSame(all.list(), [])
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  t.equal(starts(), then)
})

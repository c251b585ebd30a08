import type { Container } from '@nsm/cli/manifest/objects.js'
import { ManagedContainer, type ContainerOptions } from '@nsm/cli/mesh/container.js'
import type { Exit, RunningProcess } from '@nsm/cli/mesh/runner.js'
import t from 'tap'
import { handClock, type HandClock } from '../../kit/clock.ts'

/** A container whose processes end when the test says so. */
function harness(more: Partial<ContainerOptions> & { spec?: Container } = {}) {
  const clock = handClock()
  const launched: { end: (exit: Exit) => void; signals: string[] }[] = []
  let healthy = ''
  const container = new ManagedContainer({
    spec: { name: 'c' },
    kind: 'main',
    restart: 'Always',
    clock,
    runProbe: async () => (healthy === '' ? undefined : healthy),
    launch: (): RunningProcess => {
      const signals: string[] = []
      let end: (exit: Exit) => void = () => undefined
      const ended = new Promise<Exit>((resolve) => (end = resolve))
      launched.push({ end, signals })
      return {
        outerPid: 1,
        innerPid: async () => 1,
        ended,
        signal: (name) => {
          signals.push(name)
          if (name === 'SIGKILL') end({ code: 137 })
        },
      }
    },
    onChange: () => undefined,
    ...more,
  })
  return { clock, container, launched, sicken: (reason: string) => (healthy = reason) }
}

/** Lets time pass, and what follows from it happen. */
async function pass(clock: HandClock, ms: number): Promise<void> {
  clock.advance(ms)
  await turn()
}

const turn = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

t.test('what ends is started again after pauses that double', async (t) => {
  const { clock, container, launched } = harness()
  t.match(container.status, { state: 'running', ready: true, restarts: 0 })
  for (const [restarts, pauseMs] of [500, 1_000, 2_000].entries()) {
    launched.at(-1)?.end({ code: 1 })
    await turn()
    t.match(container.status, {
      state: 'waiting',
      reason: 'CrashLoopBackOff',
      exitCode: 1,
      ready: false,
      restarts,
    })
    await pass(clock, pauseMs - 1)
    t.equal(launched.length, restarts + 1)
    await pass(clock, 1)
    t.equal(launched.length, restarts + 2)
  }
})

t.test('the restart policy decides', async (t) => {
  for (const [restart, code, again] of [
    ['Always', 0, true],
    ['OnFailure', 0, false],
    ['OnFailure', 2, true],
    ['Never', 2, false],
  ] as const) {
    const { clock, container, launched } = harness({ restart })
    launched[0]?.end({ code })
    await turn()
    await pass(clock, 1_000)
    t.equal(launched.length, again ? 2 : 1, `${restart} ${code}`)
    if (!again) t.match(container.status, { state: 'terminated', reason: code === 0 ? 'Completed' : 'Error' })
  }
})

t.test('the startup probe gates readiness, and kills when it fails for too long', async (t) => {
  const startupProbe = { exec: { command: ['x'] }, periodSeconds: 1, failureThreshold: 2 }
  const { clock, container, launched, sicken } = harness({ spec: { name: 'c', startupProbe } })
  sicken('not yet')
  await turn()
  t.match(container.status, { started: false, ready: false })
  sicken('')
  await pass(clock, 1_000)
  t.match(container.status, { started: true, ready: true })
  const other = harness({ spec: { name: 'c', startupProbe } })
  other.sicken('never')
  await turn()
  for (let i = 0; i < 40; i++) await pass(other.clock, 100)
  t.ok(other.launched[0]?.signals.includes('SIGKILL'))
  t.equal(launched.length, 1)
})

t.test('a failing readiness probe is told, a failing liveness probe kills', async (t) => {
  const probe = { exec: { command: ['x'] }, periodSeconds: 1, failureThreshold: 2 }
  const { clock, container, launched, sicken } = harness({
    spec: { name: 'c', readinessProbe: probe, livenessProbe: probe },
  })
  await pass(clock, 0)
  t.equal(container.status.ready, true)
  sicken('sick')
  for (let i = 0; i < 2; i++) await pass(clock, 1_000)
  t.match(container.status, { ready: false })
  t.strictSame(launched[0]?.signals, ['SIGKILL'])
  t.match(container.status.message, 'liveness probe failed: sick')
})

t.test('stopping asks first and kills after the grace period', async (t) => {
  const { clock, container, launched } = harness()
  const stopped = container.stop(2_000)
  await turn()
  t.strictSame(launched[0]?.signals, ['SIGTERM'])
  await pass(clock, 2_000)
  await stopped
  t.strictSame(launched[0]?.signals, ['SIGTERM', 'SIGKILL'])
  t.match(container.status, { state: 'terminated' })
})

t.test('stopping while it waits for its next start ends it at once', async (t) => {
  const { container, launched } = harness()
  launched[0]?.end({ code: 1 })
  await turn()
  await container.stop(10)
  t.equal(launched.length, 1)
  t.match(container.status, { state: 'terminated' })
})

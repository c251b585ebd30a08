import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { NetworkService } from '@nsm/api/gen/registry.js'
import t, { type Test } from 'tap'
import { managerWorld, type ManagerWorld } from '../kit/manager.ts'
import { fileOf } from '../kit/mesh-processes.ts'
import { within } from '../kit/mesh.ts'
import { until } from '../kit/until.ts'

/** Connections that say nothing; those that the manager can't accept wait in its queue, or are refused. */
async function strangers(t: Test, url: string, count: number): Promise<() => Promise<void>> {
  const { pathname, hostname, port } = new URL(url.replace('tcp:', 'http:'))
  const target = url.startsWith('unix:') ? { path: pathname } : { host: hostname, port: Number(port) }
  const sockets: Socket[] = []
  const end = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
  }
  t.teardown(end)
  for (let i = 0; i < count; i++) {
    const socket = createConnection(target)
    socket.on('error', () => undefined)
    sockets.push(socket)
    await Promise.race([once(socket, 'connect'), once(socket, 'close')])
  }
  return end
}

/** Processor time that a process has used, in seconds. */
function cpuSeconds(pid: number): number {
  const fields = fileOf(pid, 'stat')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function registers(w: ManagerWorld, url: string, name: string): Promise<boolean> {
  const remote = await w.dialAs('/ns/a/pod/nse')(within(), url)
  try {
    await remote.networkServices.register(within(), NetworkService.fromPartial({ name, payload: 'IP' }))
    return true
  } finally {
    remote.release()
  }
}

for (const kind of ['socket', 'tcp'] as const)
  t.test(
    `a manager without free descriptors lives on, and serves when there are some: ${kind}`,
    async (t) => {
      const w = await managerWorld(t)
      const running = await w.start()
      const pid = running.child.pid ?? 0
      t.ok(await registers(w, w[kind], 'before'))
      execFileSync('prlimit', ['--pid', String(pid), '--nofile=64:64'])
      const leave = await strangers(t, w[kind], 150)
      const used = cpuSeconds(pid)
      await new Promise((resolve) => setTimeout(resolve, 2_000))
      t.ok(
        cpuSeconds(pid) - used < 0.7,
        `${cpuSeconds(pid) - used} s of processor time in 2 s without a descriptor`,
      )
      await leave()
      await until('it serves again', async () => registers(w, w[kind], 'after').catch(() => false))
      t.equal(await running.stop('SIGTERM'), 0)
    },
  )

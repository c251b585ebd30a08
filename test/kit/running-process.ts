import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'

export interface RunningProcess {
  readonly child: ChildProcess
  /** What it has logged so far. */
  readonly lines: readonly Record<string, unknown>[]
  /** The first line with this message, now or later; rejects when the process ends without. */
  said(msg: string): Promise<Record<string, unknown>>
  /** The exit code, when it has ended; null when a signal ended it. */
  readonly exited: Promise<number | null>
  /** Sends the signal and answers the exit code. */
  stop(signal: NodeJS.Signals): Promise<number | null>
}

/** Starts the compiled `main.js` of a package with this environment alone; killed with the test. */
export function startProcess(t: Test, name: string, env: Record<string, string>): RunningProcess {
  const program = new URL(`../../../${name}/dist/main.js`, import.meta.url).pathname
  const child = spawn(process.execPath, [program], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: Record<string, unknown>[] = []
  const reader = createInterface({ input: child.stdout })
  const exited = once(child, 'exit').then(([code]) => code as number | null)
  let ended = false
  reader.on('line', (line) => {
    lines.push(JSON.parse(line) as Record<string, unknown>)
    reader.emit('said')
  })
  reader.on('close', () => {
    ended = true
    reader.emit('said')
  })
  return {
    child,
    lines,
    exited,
    async said(msg) {
      for (;;) {
        const found = lines.find((line) => line['msg'] === msg)
        if (found !== undefined) return found
        if (ended) throw new Error(`${name} never said ${msg}: ${JSON.stringify(lines.slice(-5))}`)
        await once(reader, 'said')
      }
    },
    async stop(signal) {
      child.kill(signal)
      return exited
    },
  }
}

/** A TCP port of the loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

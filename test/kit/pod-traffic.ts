import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { nodeAlone, type LocalMesh } from './local-mesh.ts'
import type { Heard } from './traffic.ts'

/** As text: a pod has a `/tmp` of its own and may not see the file. */
const program = readFileSync(new URL('traffic.js', import.meta.url), 'utf8')
const command = [process.execPath, '--input-type=module', '-e', program, '--']
const port = 7_007

type Pod = readonly [namespace: string, name: string]

/** A command in a pod, its standard input open; killed with the test. */
export function startInPod(
  t: Test,
  mesh: LocalMesh,
  [namespace, pod]: Pod,
  argv: readonly string[],
): ChildProcess {
  const args = [mesh.program, 'exec', '--name', mesh.name, '-n', namespace, pod, '--', ...argv]
  const child = spawn('env', [...nodeAlone, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.on('error', () => undefined)
  t.teardown(() => child.kill('SIGKILL'))
  return child
}

/** Has a pod send back whatever UDP packet it gets; resolves when it does. */
export async function answering(t: Test, mesh: LocalMesh, pod: Pod): Promise<void> {
  await started(startInPod(t, mesh, pod, [...command, 'answer', String(port)]))
}

/** Questions from a pod every 10 ms, by UDP and by ping, from when it resolves until `stop`. */
export async function asking(
  t: Test,
  mesh: LocalMesh,
  pod: Pod,
  host: string,
): Promise<{ stop(): Promise<Heard> }> {
  const child = startInPod(t, mesh, pod, [...command, 'ask', host, String(port)])
  const said = await started(child)
  return {
    async stop() {
      child.stdin?.end()
      await once(child, 'close')
      const line = said().trim().split('\n').at(-1) ?? ''
      return JSON.parse(line) as Heard
    },
  }
}

/** Waits for the first word; answers what it has said so far. */
async function started(child: ChildProcess): Promise<() => string> {
  let text = ''
  const { stdout } = child
  if (stdout === null) throw new Error('its output is not caught')
  stdout.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await Promise.race([
    once(stdout, 'data'),
    once(child, 'close').then(() => Promise.reject(new Error('it ended without a word'))),
  ])
  return () => text
}

import { execFile, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { native } from '@nsm/native/native.js'

const run = promisify(execFile)

/** Where another program finds a descriptor of this process. */
export function fdPath(fd: number): string {
  return `/proc/${process.pid}/fd/${fd}`
}

/** New network namespaces that are gone when the test ends, whatever it did. */
export async function netnses(t: { teardown(run: () => void): void }, count: number): Promise<number[]> {
  const fds = await Promise.all(Array.from({ length: count }, () => native.createNetns()))
  t.teardown(() => fds.forEach((fd) => native.close(fd)))
  return fds
}

/** Standard output of a program run in a network namespace: an opinion independent of ours. */
export async function inNetns(netnsFd: number, program: string, ...args: string[]): Promise<string> {
  const { stdout } = await run('nsenter', [`--net=${fdPath(netnsFd)}`, program, ...args])
  return stdout
}

/** What `ip -j` says in a network namespace, parsed. */
export async function ip(netnsFd: number, ...args: string[]): Promise<Record<string, unknown>[]> {
  const text = await inNetns(netnsFd, 'ip', '-j', '-d', ...args)
  return text.trim() === '' ? [] : (JSON.parse(text) as Record<string, unknown>[])
}

const moduleUrl = import.meta.resolve('@nsm/native/native.js')

/** Pings from a process inside the namespace; answers what `ping` answered, or the code of its error. */
export async function pingFrom(
  netnsFd: number,
  source: string,
  destination: string,
  timeoutMs: number,
): Promise<unknown> {
  const script = `import(process.argv[1])
    .then(({ native }) => native.ping(process.argv[2], process.argv[3], Number(process.argv[4])))
    .then((ms) => console.log(JSON.stringify(ms ?? null)), (e) => console.log(JSON.stringify(e.code)))`
  const out = await inNetns(
    netnsFd,
    process.execPath,
    '-e',
    script,
    fileURLToPath(moduleUrl),
    source,
    destination,
    String(timeoutMs),
  )
  return JSON.parse(out)
}

/** A process that keeps a namespace visible and alive until the test ends, or until the answer is called. */
export function occupant(t: { teardown(run: () => void): void }, netnsFd: number): () => void {
  const child = spawn('nsenter', [`--net=${fdPath(netnsFd)}`, 'sleep', '600'], { stdio: 'ignore' })
  const leave = (): void => void child.kill('SIGKILL')
  t.teardown(leave)
  return leave
}

import { execFile } from 'node:child_process'
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

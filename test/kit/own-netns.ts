import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/**
 * Runs `cases`, a file of tests, in a process with a network namespace of its own whose loopback has these addresses too;
 * ends this process as that one ended. To be called by a test file that does nothing else.
 */
export function runInOwnNetns(cases: URL, addresses: readonly string[]): void {
  if (process.getuid?.() !== 0) {
    process.stdout.write('1..0 # SKIP needs root for a network namespace of its own\n')
    return
  }
  const setUp = ['ip link set lo up', ...addresses.map((address) => `ip address add ${address} dev lo`)]
  const line = `${setUp.join(' && ')} && exec "$@"`
  const argv = ['--net', 'sh', '-c', line, 'sh', process.execPath, ...process.execArgv, fileURLToPath(cases)]
  const { status } = spawnSync('unshare', argv, { stdio: 'inherit' })
  process.exitCode = status ?? 1
}

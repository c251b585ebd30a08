import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * Runs `work` while no other process of this machine is in an `exclusive` of the same name.
 * The lock is a socket without a file, which the kernel takes back from a process that was killed.
 */
export async function exclusive<T>(name: string, onWait: () => void, work: () => Promise<T>): Promise<T> {
  let waited = false
  for (;;) {
    const server = createServer()
    server.listen(`\0nsm-cluster-${name}`)
    try {
      await once(server, 'listening')
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw err
      if (!waited) onWait()
      waited = true
      await pause(250)
      continue
    }
    try {
      return await work()
    } finally {
      server.close()
    }
  }
}

import { performance } from 'node:perf_hooks'
import { addon, unwrap } from './addon.ts'

const readable = 1

/** One echo over a datagram socket of its own; see `Native.ping`. */
export async function ping(
  source: string,
  destination: string,
  timeoutMs: number,
): Promise<number | undefined> {
  const mark = Math.random()
  const started = performance.now()
  const fd = unwrap(addon().pingSend(source, destination, mark))
  const poller = new (addon().Poller)(fd, () => settle())
  let settle: () => void = () => undefined
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => resolve(undefined), timeoutMs)
      settle = () => {
        try {
          if (unwrap(addon().pingReplied(fd, mark))) resolve(performance.now() - started)
        } catch (reason) {
          reject(reason)
        }
      }
      poller.watch(readable)
    })
  } finally {
    clearTimeout(timer)
    poller.close()
    unwrap(addon().close(fd))
  }
}

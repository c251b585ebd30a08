import { request } from 'node:http'
import { programOf } from '../manifest/images.ts'
import type { RunningPod } from './pod.ts'

/** What the sidecar of one pod says of its connections. */
export interface PodConnections {
  readonly namespace: string
  readonly pod: string
  readonly node: string
  /** The answer of the sidecar's status endpoint; undefined when it could not be had. */
  readonly status: unknown
  /** Why it could not be had; empty otherwise. */
  readonly error: string
  /** What the pod asked for, where that is all that is known. */
  readonly wanted?: readonly WantedConnection[]
}

/** A connection that a pod asked for. */
export interface WantedConnection {
  readonly networkService: string
  /** Empty when it is left to the mesh. */
  readonly interface: string
  readonly state: string
}

/** Where sidecars serve their status. */
const statusPort = 9_080
const timeoutMs = 2_000
const maxBytes = 1024 * 1024

/** Asks the sidecars of those pods that have one. */
export async function connectionsOf(pods: readonly RunningPod[]): Promise<readonly PodConnections[]> {
  return Promise.all(pods.filter(hasSidecar).map(async (pod) => askSidecar(pod)))
}

function hasSidecar({ object }: RunningPod): boolean {
  const { initContainers = [], containers } = object.spec
  return [...initContainers, ...containers].some(({ image = '' }) => programOf(image) === 'sidecar')
}

async function askSidecar(pod: RunningPod): Promise<PodConnections> {
  const { namespace, name, node, message } = pod.status
  const about = { namespace, pod: name, node }
  try {
    return { ...about, status: JSON.parse(await get(pod.ip, '/status')) as unknown, error: '' }
  } catch (err) {
    const reason = err instanceof Error ? err.message : String(err)
    return { ...about, status: undefined, error: message || `its sidecar can't be asked: ${reason}` }
  }
}

async function get(host: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs)
    const req = request({ host, port: statusPort, path, agent: false, signal }, (res) => {
      let text = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        text += chunk
        if (text.length > maxBytes) req.destroy(new Error(`the answer is longer than ${maxBytes} bytes`))
      })
      res.once('error', reject)
      res.once('end', () =>
        res.statusCode === 200 ? resolve(text) : reject(new Error(`HTTP status ${res.statusCode}`)),
      )
    })
    req.once('error', reject)
    req.end()
  })
}

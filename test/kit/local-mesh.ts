import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** What a command printed, and how it ended. */
export interface Output {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** A mesh of real processes, started by the built `nsm` program; gone when the test ends. */
export interface LocalMesh {
  readonly name: string
  /** Path of the built `nsm` program. */
  readonly program: string
  /** Runs `nsm` with this mesh's name: the command and its arguments, and what goes to its standard input. */
  nsm(args: readonly string[], input?: string): Promise<Output>
  /** Applies YAML; fails the test unless everything is taken. */
  apply(yaml: string): Promise<void>
  /** Standard output of a shell line in a pod's first container; rejects with its output when it fails. */
  inPod(namespace: string, pod: string, line: string): Promise<string>
  /** Waits until all pods of a namespace are ready; answers their names. */
  ready(namespace: string, count: number): Promise<readonly string[]>
  /** The process that `nsm up` runs in. */
  readonly process: ChildProcess
}

const bundle = fileURLToPath(new URL('../../../build/nsm.cjs', import.meta.url))
const patienceMs = 60_000
let count = 0

/** Ends a command with its standard input: even a test that is killed leaves no mesh behind. */
const untilStdinCloses = `exec 3<&0; "$@" </dev/null & command=$!
  (cat <&3; kill $command) >/dev/null 2>&1 & watcher=$!
  wait $command; code=$?; kill $watcher 2>/dev/null; exit $code`

/**
 * Arguments of `env` that run Node.js without what tap adds to each process that a test starts, and each one after it:
 * a module of this checkout, which slows the parts of a mesh and is not there in its pods when the checkout lies below /tmp.
 */
export const nodeAlone: readonly string[] = ['-u', 'NODE_OPTIONS', process.execPath]

/** Why no mesh can be had here; undefined when it can. To be given to `skip`. */
export function noLocalMesh(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root'
  return existsSync(bundle) ? undefined : `needs ${bundle}: run scripts/setup`
}

/** The same for a test whose pods run a program of this path. */
export function noLocalMeshWith(path: string): string | undefined {
  return (
    noLocalMesh() ?? (path.startsWith('/tmp/') ? 'pods have a /tmp of their own: not from there' : undefined)
  )
}

/** Runs the built `nsm` program. */
export async function nsm(args: readonly string[], input = ''): Promise<Output> {
  const child = spawn('env', [...nodeAlone, bundle, ...args], { env: environment() })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  return outputOf(child)
}

export async function localMesh(t: Test, ...options: readonly string[]): Promise<LocalMesh> {
  count += 1
  const name = `t${process.pid}-${count}`
  const command = ['env', ...nodeAlone, bundle, 'up', '--name', name, ...options]
  const child = spawn('sh', ['-c', untilStdinCloses, 'sh', ...command], { env: environment() })
  const ended = outputOf(child)
  t.teardown(async () => {
    child.stdin.end()
    const { code, stderr } = await ended
    if (code !== 0) t.comment(`nsm up ended with ${code}: ${stderr}`)
    await nsm(['down', '--name', name])
  })
  await isUp(child, ended)

  const call = async (args: readonly string[], input = ''): Promise<Output> => {
    const [verb = '', ...rest] = args
    return nsm([verb, '--name', name, ...rest], input)
  }
  const mesh: LocalMesh = {
    name,
    program: bundle,
    process: child,
    nsm: call,
    async apply(yaml) {
      const { code, stdout, stderr } = await call(['apply', '-f', '-'], yaml)
      if (code !== 0) throw new Error(`apply failed: ${stdout}${stderr}`)
    },
    async inPod(namespace, pod, line) {
      const { code, stdout, stderr } = await call(['exec', '-n', namespace, pod, '--', 'sh', '-c', line])
      if (code !== 0) throw new Error(`${pod}: \`${line}\` ended with ${code}: ${stdout}${stderr}`)
      return stdout.trim()
    },
    async ready(namespace, wanted) {
      return waitFor(`${wanted} ready pods in ${namespace}`, async () => {
        const pods = await podsOf({ nsm: call }, namespace)
        const done = pods.filter(({ ready }) => ready).map((pod) => pod.name)
        const why = pods.map((pod) => `${pod.name}: ${pod.message}`).join('; ')
        return pods.length === wanted && done.length === wanted ? done : new Error(why)
      })
    },
  }
  return mesh
}

/** A pod as `nsm get pods -o json` tells it. */
export interface PodRow {
  readonly name: string
  readonly uid: string
  readonly ip: string
  readonly node: string
  readonly phase: string
  readonly ready: boolean
  readonly message: string
  readonly startedAtMs: number
  readonly containers: readonly {
    readonly name: string
    readonly restarts: number
    readonly reason: string
  }[]
}

export async function podsOf(mesh: Pick<LocalMesh, 'nsm'>, namespace: string): Promise<readonly PodRow[]> {
  const { code, stdout, stderr } = await mesh.nsm(['get', 'pods', '-n', namespace, '-o', 'json'])
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as PodRow[]
}

/** Tries until it answers something else than an error; rejects with the last one after a minute. */
export async function waitFor<T>(what: string, probe: () => Promise<T | Error>): Promise<T> {
  const deadline = Date.now() + patienceMs
  for (;;) {
    const found = await probe()
    if (!(found instanceof Error)) return found
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}: ${found.message}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

async function isUp(child: ChildProcess, ended: Promise<Output>): Promise<void> {
  let seen = ''
  const up = new Promise<void>((resolve) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      seen += chunk.toString()
      if (seen.includes('Ctrl-C ends it')) resolve()
    })
  })
  const gone = ended.then(({ stderr }) => {
    throw new Error(`nsm up ended: ${stderr}`)
  })
  gone.catch(() => undefined)
  await Promise.race([up, gone])
}

async function outputOf(child: ChildProcess): Promise<Output> {
  const texts = { stdout: '', stderr: '' }
  child.stdout?.on('data', (chunk: Buffer) => (texts.stdout += chunk.toString()))
  child.stderr?.on('data', (chunk: Buffer) => (texts.stderr += chunk.toString()))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve({ code: code ?? -1, ...texts }))
  })
}

function environment(): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _slow, ...env } = process.env
  return { ...env, NO_COLOR: '1' }
}

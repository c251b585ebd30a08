import { spawn } from 'node:child_process'
import { readFile, readdir, readlink } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

/** A local mesh of real processes, for one section of the benchmark. */
export interface BenchMesh {
  /** Standard output of `nsm` with this mesh's name. */
  nsm(args: readonly string[], input?: string): Promise<string>
  /** Waits until so many pods are ready. */
  ready(count: number): Promise<void>
  /** Network namespace of a pod, as a path. */
  netnsOf(pod: string): Promise<string>
  /** Processes of a bundle that this mesh runs. */
  pidsOf(bundle: string): Promise<number[]>
  close(): Promise<void>
}

const build = fileURLToPath(new URL('../../build/', import.meta.url))

/** Path of a file in `build/`. */
export function built(name: string): string {
  return `${build}${name}`
}

/** Starts a mesh and applies `yaml` to it. */
export async function benchMesh(yaml: string): Promise<BenchMesh> {
  const name = `bench-${process.pid}`
  const nsm = (args: readonly string[], input = ''): Promise<string> => {
    const [verb = '', ...rest] = args
    return output(process.execPath, [built('nsm.cjs'), verb, '--name', name, ...rest], input)
  }
  await nsm(['up', '--detach'])
  const mesh: BenchMesh = {
    nsm,
    async ready(count) {
      for (let tries = 0; tries < 600; tries += 1) {
        const pods = JSON.parse(await nsm(['get', 'pods', '-o', 'json'])) as { ready: boolean }[]
        if (pods.filter(({ ready }) => ready).length >= count) return
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      throw new Error(`${count} pods were not ready within a minute:\n${await nsm(['get', 'pods'])}`)
    },
    async netnsOf(pod) {
      const link = await nsm(['exec', pod, '--', 'readlink', '/proc/self/ns/net'])
      const pid = await processIn(link.trim())
      return `/proc/${pid}/ns/net`
    },
    pidsOf: async (bundle) => {
      const found = await processes()
      return found
        .filter(
          ({ args, mounts }) =>
            args.includes(`/${bundle}`) && !args.includes('nsm-run') && mounts.includes(name),
        )
        .map(({ pid }) => pid)
    },
    close: async () => void (await nsm(['down'])),
  }
  try {
    await nsm(['apply', '-f', '-'], yaml)
    return mesh
  } catch (err) {
    await mesh.close()
    throw err
  }
}

/** Standard output of a program; rejects with its standard error when it fails. */
export async function output(program: string, args: readonly string[], input = ''): Promise<string> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const texts = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (texts.stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (texts.stderr += chunk.toString()))
  const code = await new Promise<number | null>((resolve, reject) =>
    child.once('error', reject).once('close', resolve),
  )
  if (code !== 0)
    throw new Error(`${program} ${args.join(' ')}: ended with ${code}: ${texts.stdout}${texts.stderr}`)
  return texts.stdout
}

/** A process that lives in a namespace, given as `net:[…]`. */
async function processIn(link: string): Promise<number> {
  for (const pid of await pids()) {
    const own = await readlink(`/proc/${pid}/ns/net`).catch(() => '')
    if (own === link) return pid
  }
  throw new Error(`no process lives in ${link}`)
}

async function processes(): Promise<{ pid: number; args: string; mounts: string }[]> {
  const found = await pids()
  return Promise.all(
    found.map(async (pid) => ({
      pid,
      args: await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
      mounts: await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => ''),
    })),
  )
}

async function pids(): Promise<number[]> {
  return (await readdir('/proc')).map(Number).filter((pid) => Number.isInteger(pid))
}

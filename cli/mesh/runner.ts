import { spawn, type ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { NsmError } from '@nsm/sdk/errors.js'
import { netnsOf } from './processes.ts'

/** How a process ended; `code` is 128 + n when signal n killed it. */
export interface Exit {
  readonly code: number
  /** When something else than the command is to blame: why it could not be started. */
  readonly error?: string
}

/** A command that runs in a sandbox. */
export interface RunningProcess {
  /** Pid of the command itself; undefined before it runs and when it is gone. */
  innerPid(): Promise<number | undefined>
  /** Pid of our own child, which watches over the command. */
  readonly outerPid: number
  readonly ended: Promise<Exit>
  signal(name: NodeJS.Signals): void
}

/** What a command is run with. */
export interface Command {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Gives it a private copy of this machine's root file system with these folders and files in it. */
  readonly root?: { readonly binds: readonly Bind[]; readonly readOnly?: boolean }
  readonly workingDir?: string
  readonly uid?: number
  readonly gid?: number
  readonly noNewPrivileges?: boolean
  /** Keeps standard input open instead of giving it nothing. */
  readonly stdin?: boolean
}

/** How a command is run beside a container's own: by its user, in its folder, with its environment. */
export type Manner = Pick<Command, 'env' | 'workingDir' | 'uid' | 'gid' | 'noNewPrivileges'>

/** Neither path may hold a colon. */
export interface Bind {
  readonly source: string
  readonly target: string
  readonly readOnly?: boolean
}

/** Network, mount, host name, IPC and process namespaces that stand for a node or a pod. */
export interface Sandbox {
  /** Process 1 inside; with it everything inside dies. */
  readonly pid: number
  /** Inode of the network namespace. */
  readonly netns: string
  readonly ended: Promise<void>
  /** Runs a command inside; lines of its output go to `onOutput`. */
  run(command: Command, onOutput: (chunk: Buffer) => void): RunningProcess
  close(): Promise<void>
}

export interface SandboxOptions {
  /** Path of the `nsm-run` program. */
  readonly runner: string
  readonly hostname: string
  /** Stays in the network namespace of this process. */
  readonly sharesNetwork?: boolean
}

const startTimeoutMs = 10_000

/** Makes a sandbox, which dies with this process at the latest. Rejects with FAILED_PRECONDITION when the kernel refuses. */
export async function startSandbox(options: SandboxOptions, signal: AbortSignal): Promise<Sandbox> {
  signal.throwIfAborted()
  const share = options.sharesNetwork === true ? ['--share-net'] : []
  const child = spawn(options.runner, ['sandbox', '--hostname', options.hostname, ...share], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {},
  })
  const ended = exitOf(child).then(() => undefined)
  try {
    const pid = await readyPid(child, AbortSignal.any([signal, AbortSignal.timeout(startTimeoutMs)]))
    const netns = await netnsOf(pid)
    return {
      pid,
      netns,
      ended,
      run: (command, onOutput) => runInside(options.runner, pid, command, onOutput),
      close: async () => {
        child.kill('SIGTERM')
        await ended
      },
    }
  } catch (err) {
    child.kill('SIGKILL')
    await ended
    throw err
  }
}

/** Command line that runs `command` in the namespaces of process `pid`. */
export function enterArgs(pid: number, command: Omit<Command, 'env' | 'stdin'>): readonly string[] {
  const { root, workingDir, uid, gid, noNewPrivileges } = command
  return [
    'enter',
    String(pid),
    ...(root === undefined ? [] : ['--root']),
    ...(root?.binds ?? []).flatMap((bind) => [
      '--bind',
      `${bind.source}:${bind.target}${bind.readOnly === true ? ':ro' : ''}`,
    ]),
    ...(root?.readOnly === true ? ['--read-only'] : []),
    ...(workingDir === undefined ? [] : ['--chdir', workingDir]),
    ...(uid === undefined ? [] : ['--uid', String(uid)]),
    ...(gid === undefined ? [] : ['--gid', String(gid)]),
    ...(noNewPrivileges === true ? ['--no-new-privileges'] : []),
    '--',
    ...command.argv,
  ]
}

/** A command's manner without the command. */
export function mannerOf({ env, workingDir, uid, gid, noNewPrivileges }: Command): Manner {
  return {
    env,
    ...(workingDir === undefined ? {} : { workingDir }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(noNewPrivileges === undefined ? {} : { noNewPrivileges }),
  }
}

function runInside(
  runner: string,
  pid: number,
  command: Command,
  onOutput: (chunk: Buffer) => void,
): RunningProcess {
  const child = spawn(runner, enterArgs(pid, command), {
    stdio: [command.stdin === true ? 'pipe' : 'ignore', 'pipe', 'pipe'],
    env: { ...command.env },
  })
  child.stdin?.on('error', () => undefined)
  child.stdout?.on('data', onOutput)
  child.stderr?.on('data', onOutput)
  const outerPid = child.pid ?? -1
  return {
    outerPid,
    ended: exitOf(child),
    signal: (name) => void child.kill(name),
    innerPid: async () => (child.exitCode === null ? childOf(outerPid) : undefined),
  }
}

async function exitOf(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve) => {
    child.once('error', (err) => resolve({ code: 125, error: err.message }))
    // Not 'exit': output may still be on its way then. Not 'close' alone: a grandchild may keep the pipe open for ever.
    child.once('exit', (code, signal) => {
      const done = (): void => resolve({ code: code ?? 128 + (signal === 'SIGTERM' ? 15 : 9) })
      const late = setTimeout(done, 1_000)
      child.once('close', () => {
        clearTimeout(late)
        done()
      })
    })
  })
}

async function readyPid(child: ChildProcess, signal: AbortSignal): Promise<number> {
  const { stdout, stderr } = child
  if (stdout === null || stderr === null) throw new NsmError('INTERNAL', 'nsm-run has no output')
  let complaint = ''
  stderr.on('data', (chunk: Buffer) => {
    if (complaint.length < 1_000) complaint += chunk.toString()
  })
  const lines = createInterface({ input: stdout })
  return new Promise((resolve, reject) => {
    const refuse = (reason: string): void =>
      reject(new NsmError('FAILED_PRECONDITION', `no sandbox could be made: ${reason}`))
    const abort = (): void => reject(NsmError.from(signal.reason))
    signal.addEventListener('abort', abort, { once: true })
    child.once('error', (err) => refuse(err.message))
    child.once('close', () => refuse(complaint.trim() || 'nsm-run ended without a word'))
    lines.once('line', (line) => {
      signal.removeEventListener('abort', abort)
      const pid = Number(/^ready (\d+)$/.exec(line)?.[1])
      if (Number.isInteger(pid)) resolve(pid)
      else refuse(line)
    })
  })
}

async function childOf(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  const child = Number(text.trim().split(' ')[0])
  return child > 0 ? child : undefined
}

import { existsSync } from 'node:fs'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { clientEnv } from './client.ts'
import { runOnTerminal } from './command.ts'
import { down, up } from './lifecycle.ts'
import { loadImages } from './load-images.ts'
import { progress } from './progress.ts'
import { layoutOfState, readState, states, type ClusterState } from './state.ts'
import { minors, openTools, type Minor } from './tools.ts'

const usage = `Kubernetes of some nodes on this machine, for development and tests. Needs root.

  up [--nodes 2]           brings the cluster up (the first time builds Kubernetes: about 10 minutes)
  api up [--version 1.34]  an API server with etcd alone; its name is api if no other is given
  down                     ends the cluster and removes all of it
  load [--tag TAG]         builds the images of all parts and gives them to every node
  kubectl ARG...           kubectl on the cluster
  helm ARG...              helm on the cluster
  env                      prints shell commands that set KUBECONFIG, NSM_CLUSTER and PATH
  list                     clusters of this machine
  tools                    builds and unpacks what clusters are made of, of every minor, and nothing else

A cluster that is brought up with --owner PID is removed by the next "up" after that process has ended.
--name NAME before the command chooses the cluster; otherwise $NSM_CLUSTER, otherwise dev.
`

const write = (text: string): void => void process.stdout.write(text)
const report = progress((line) => void process.stderr.write(`${line}\n`))

/** A mistake of the person who typed the command. */
class UsageError extends Error {}

async function main(argv: readonly string[]): Promise<number> {
  const named = argv[0] === '--name'
  const [command = '--help', ...args] = named ? argv.slice(2) : argv
  const name = (named ? argv[1] : undefined) ?? process.env['NSM_CLUSTER'] ?? 'dev'
  switch (command) {
    case 'up':
      return start(name, args)
    case 'api':
      return startApi(named ? name : 'api', args)
    case 'down':
      return stop(options(args, name).name)
    case 'load':
      return load(args, name)
    case 'kubectl':
    case 'helm':
      return client(command, name, args)
    case 'env':
      return environment(options(args, name).name)
    case 'list':
      return list()
    case 'tools':
      for (const minor of minors) await openTools(report, minor)
      return 0
  }
  write(usage)
  return command === '--help' ? 0 : 2
}

/** What may follow a command of ours. */
function options(
  args: readonly string[],
  name: string,
): { name: string; nodes: number; minor: Minor; tag: string | undefined; owner: number } {
  const { values } = parseArgs({
    args: [...args],
    options: {
      name: { type: 'string', default: name },
      nodes: { type: 'string', default: '2' },
      version: { type: 'string', default: minors[0] },
      tag: { type: 'string' },
      owner: { type: 'string', default: '0' },
    },
  })
  const nodes = Number(values.nodes)
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > 99)
    throw new UsageError(`--nodes ${values.nodes}: 1 to 99`)
  const minor = minors.find((known) => known === values.version)
  if (minor === undefined) throw new UsageError(`--version ${values.version}: ${minors.join(' or ')}`)
  return { name: values.name, nodes, minor, tag: values.tag, owner: Number(values.owner) }
}

async function start(name: string, args: readonly string[]): Promise<number> {
  const chosen = options(args, name)
  if (chosen.minor !== '1.37') throw new UsageError('of other versions there is the API server alone: api up')
  const layout = await up({ ...chosen, progress: report })
  write(`export KUBECONFIG=${layout.kubeconfig}\n`)
  return 0
}

async function startApi(name: string, args: readonly string[]): Promise<number> {
  if (args[0] !== 'up') throw new UsageError('api up [--version MINOR]')
  const chosen = options(args.slice(1), name)
  const layout = await up({ ...chosen, nodes: 0, progress: report })
  write(`export KUBECONFIG=${layout.kubeconfig}\n`)
  return 0
}

async function stop(name: string): Promise<number> {
  if (readState(name) === undefined) throw new UsageError(`there is no cluster ${name}`)
  await report.step(`cluster ${name} removed`, async () => down(name))
  return 0
}

async function load(args: readonly string[], name: string): Promise<number> {
  const chosen = options(args, name)
  await loadImages({ layout: layoutOfState(existing(chosen.name)), tag: chosen.tag, progress: report })
  return 0
}

function existing(name: string): ClusterState {
  const state = readState(name)
  if (state?.ready !== true) throw new UsageError(`there is no cluster ${name}: bring it up with "up"`)
  return state
}

async function client(program: 'kubectl' | 'helm', name: string, args: readonly string[]): Promise<number> {
  const layout = layoutOfState(existing(name))
  const tools = await openTools(report)
  const argv = program === 'helm' ? [tools.helm] : tools.component('kubectl')
  return runOnTerminal([...argv, ...args], { env: clientEnv(layout) })
}

/** Commands that a shell can `eval`; `kubectl` and `helm` of the right versions come with them. */
async function environment(name: string): Promise<number> {
  const layout = layoutOfState(existing(name))
  const tools = await openTools(report)
  const folder = path.join(layout.folder, 'bin')
  await mkdir(folder, { recursive: true })
  const kubectl = path.join(folder, 'kubectl')
  const helm = path.join(folder, 'helm')
  await writeFile(kubectl, `#!/bin/sh\nexec ${tools.component('kubectl').join(' ')} "$@"\n`, { mode: 0o755 })
  if (!existsSync(helm)) await symlink(tools.helm, helm)
  const { KUBECONFIG, KUBECACHEDIR } = clientEnv(layout)
  for (const [key, value] of Object.entries({ KUBECONFIG, KUBECACHEDIR, NSM_CLUSTER: name })) {
    write(`export ${key}=${value}\n`)
  }
  write(`export PATH=${folder}:$PATH\n`)
  return 0
}

function list(): number {
  for (const { name, nodes, minor, ready } of states()) {
    const size = nodes === 0 ? 'API server' : `${nodes} nodes`
    write(`${name.padEnd(20)} ${size.padEnd(12)} ${minor.padEnd(6)} ${ready ? 'up' : 'not up'}\n`)
  }
  return 0
}

main(process.argv.slice(2)).then(
  (status) => {
    process.exitCode = status
  },
  (err: unknown) => {
    process.stderr.write(`cluster: ${err instanceof Error ? err.message : String(err)}\n`)
    process.exitCode = err instanceof UsageError ? 2 : 1
  },
)

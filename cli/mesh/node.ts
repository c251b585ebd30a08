import { mkdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { excludedPrefixesPath } from '@nsm/sdk/elements/excluded-prefixes-file.js'
import { stringify } from 'yaml'
import { podAddresses, type AddressPlan, type NodeAddresses } from './addresses.ts'
import { managerFolder, workloadApiFolder } from '../manifest/volume-rules.ts'
import { attachNode, attachPod } from './network.ts'
import { startPart, type Part, type PartOptions } from './part.ts'
import type { PodHost } from './pod.ts'
import { startSandbox, type Bind, type Sandbox } from './runner.ts'

export interface NodeOptions {
  readonly name: string
  readonly index: number
  readonly plan: AddressPlan
  /** Of this machine: what the node's folders of the same kind are. */
  readonly folders: { readonly workloadApi: string; readonly manager: string }
  readonly runner: string
  readonly registryUrl: string
  readonly excludedPrefixes: readonly string[]
  readonly part: Omit<PartOptions, 'name' | 'program' | 'env' | 'binds' | 'sandbox' | 'ops'>
}

/** A namespace that stands for a machine, with a manager and a forwarder. */
export interface MeshNode extends PodHost {
  readonly parts: readonly Part[]
  readonly sandbox: Sandbox
  stop(): Promise<void>
}

const managerOps = 9_101
const forwarderOps = 9_102
const managerPort = 5_001
/** Parts drain within 3 s of SIGTERM. */
export const partGraceMs = 5_000

export async function startNode(options: NodeOptions, signal: AbortSignal): Promise<MeshNode> {
  const { name, index, plan, folders, runner } = options
  const addresses = plan.node(index)
  await writeExcludedPrefixes(folders.manager, options.excludedPrefixes)
  const sandbox = await startSandbox({ runner, hostname: name }, signal)
  try {
    await attachNode({ name, pid: sandbox.pid, addresses }, plan)
  } catch (err) {
    await sandbox.close()
    throw err
  }
  const parts = [
    startPart(managerOf(options, sandbox, addresses)),
    startPart(forwarderOf(options, sandbox, addresses)),
  ]
  const pods = podAddresses(addresses)
  return {
    name,
    ip: addresses.ip,
    nameserver: plan.switchIp,
    folders,
    parts,
    sandbox,
    reserveIp: () => pods.reserve(),
    releaseIp: (ip) => pods.release(ip),
    attach: async (pod, { ip, sysctls }) =>
      attachPod(sandbox.pid, { pid: pod.pid, ip, gateway: addresses.gateway, sysctls }),
    stop: async () => {
      await Promise.all(parts.map((part) => part.stop(partGraceMs)))
      await sandbox.close()
    },
  }
}

/** What the collector of a cluster's prefixes writes for the node's manager (wire contract §5.7). */
async function writeExcludedPrefixes(folder: string, prefixes: readonly string[]): Promise<void> {
  await mkdir(join(folder, 'config'), { recursive: true, mode: 0o755 })
  await writeFile(
    join(folder, relative(managerFolder, excludedPrefixesPath)),
    stringify({ Prefixes: prefixes }),
  )
}

function managerOf(options: NodeOptions, sandbox: Sandbox, { ip }: NodeAddresses): PartOptions {
  const name = `nsmgr-${options.name}`
  const env = {
    NSM_LISTEN_ON: `unix://${managerFolder}/nsm.io.sock,tcp://${ip}:${managerPort}`,
    NSM_REGISTRY_URL: options.registryUrl,
  }
  return onNode(options, sandbox, { name, program: 'nsmgr', env, ops: { host: ip, port: managerOps } })
}

function forwarderOf(options: NodeOptions, sandbox: Sandbox, { ip }: NodeAddresses): PartOptions {
  const name = `forwarder-${options.name}`
  const env = {
    NSM_CONNECT_TO: `unix://${managerFolder}/nsm.io.sock`,
    NSM_LISTEN_ON: `unix://${managerFolder}/${name}.sock`,
    NSM_TUNNEL_IP: ip,
  }
  return onNode(options, sandbox, { name, program: 'forwarder', env, ops: { host: ip, port: forwarderOps } })
}

function onNode(
  { name, folders, part }: NodeOptions,
  sandbox: Sandbox,
  own: Pick<PartOptions, 'name' | 'program' | 'env' | 'ops'>,
): PartOptions {
  const binds: readonly Bind[] = [
    { source: folders.manager, target: managerFolder },
    { source: folders.workloadApi, target: workloadApiFolder, readOnly: true },
  ]
  const env = {
    ...own.env,
    NSM_NAME: own.name,
    NSM_OPS_LISTEN_ON: `${own.ops.host}:${own.ops.port}`,
    SPIFFE_ENDPOINT_SOCKET: `unix://${workloadApiFolder}/agent.sock`,
    NODE_NAME: name,
    POD_NAME: own.name,
  }
  return { ...part, ...own, env, binds, sandbox }
}

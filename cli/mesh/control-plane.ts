import { dirname } from 'node:path'
import { workloadApiFolder } from '../manifest/volume-rules.ts'
import { startPart, type Part, type PartOptions } from './part.ts'
import { startSandbox, type Sandbox } from './runner.ts'

export interface ControlPlaneOptions {
  readonly runner: string
  /** Address of the switch, which the control plane lives on. */
  readonly ip: string
  readonly workloadApi: string
  readonly namespacesFile: string
  /** The webhook writes the CA of its serving certificate there. */
  readonly webhookCaFile: string
  readonly part: Omit<PartOptions, 'name' | 'program' | 'env' | 'binds' | 'sandbox' | 'ops'>
}

/** Registry and webhook, in the network namespace that joins the nodes. */
export interface ControlPlane {
  readonly registryUrl: string
  readonly webhook: { readonly host: string; readonly port: number; readonly serverName: string }
  readonly parts: readonly [registry: Part, webhook: Part]
  readonly sandbox: Sandbox
  stop(graceMs: number): Promise<void>
}

const registryPort = 5_002
const webhookPort = 8_443
const registryOps = 9_103
const webhookOps = 9_104
export const systemNamespace = 'nsm-system'

export async function startControlPlane(
  options: ControlPlaneOptions,
  signal: AbortSignal,
): Promise<ControlPlane> {
  const { ip, runner, part, workloadApi } = options
  const sandbox = await startSandbox({ runner, hostname: 'control-plane', sharesNetwork: true }, signal)
  const common = { ...part, sandbox }
  const registry = startPart({
    ...common,
    name: 'registry',
    program: 'registry',
    ops: { host: ip, port: registryOps },
    binds: [{ source: workloadApi, target: workloadApiFolder, readOnly: true }],
    env: {
      NSM_NAME: 'registry',
      NSM_LISTEN_ON: `tcp://${ip}:${registryPort}`,
      NSM_OPS_LISTEN_ON: `${ip}:${registryOps}`,
      SPIFFE_ENDPOINT_SOCKET: `unix://${workloadApiFolder}/agent.sock`,
    },
  })
  const files = dirname(options.webhookCaFile)
  const webhook = startPart({
    ...common,
    name: 'webhook',
    program: 'webhook',
    ops: { host: ip, port: webhookOps },
    // At the same path inside: both of its files are named in its environment.
    binds: [{ source: files, target: files }],
    env: {
      NSM_NAME: 'webhook',
      NSM_SERVICE_NAME: 'webhook',
      NSM_NAMESPACE: systemNamespace,
      NSM_LISTEN_ON: `${ip}:${webhookPort}`,
      NSM_OPS_LISTEN_ON: `${ip}:${webhookOps}`,
      NSM_CONTAINER_IMAGES: 'sidecar',
      NSM_DNS_MODE: 'embedded',
      NSM_DNS_CLUSTER_SERVERS: ip,
      NSM_NAMESPACES_FILE: options.namespacesFile,
      NSM_CA_BUNDLE_FILE_PATH: options.webhookCaFile,
    },
  })
  return {
    registryUrl: `tcp://${ip}:${registryPort}`,
    webhook: { host: ip, port: webhookPort, serverName: `webhook.${systemNamespace}.svc` },
    parts: [registry, webhook],
    sandbox,
    stop: async (graceMs) => {
      await Promise.all([registry.stop(graceMs), webhook.stop(graceMs)])
      await sandbox.close()
    },
  }
}

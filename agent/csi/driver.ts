import { lstat, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  IdentityDefinition,
  NodeDefinition,
  type NodePublishVolumeRequest,
  type NodeUnpublishVolumeRequest,
} from '@nsm/api/gen/csi.js'
import { RegistrationDefinition } from '@nsm/api/gen/pluginregistration.js'
import { systemClock, type Clock } from '@nsm/sdk/clock.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Logger } from '@nsm/sdk/log.js'
import { version } from '@nsm/sdk/process/version.js'
import { serialQueue, type SerialQueue } from '@nsm/sdk/serial-queue.js'
import { serveOnSocket, unary, type SocketMethods } from './socket-server.ts'
import { publish, unpublish, type Folders } from './volumes.ts'

export interface CsiDriverOptions {
  /** Name that pods ask for, such as `csi.networkservicemesh.io`. */
  readonly driver: string
  /** The folder of the node that pods get to see, read-only; made when it is not there. */
  readonly source: string
  /** kubelet's folder, the same path here as for kubelet: `/var/lib/kubelet`. */
  readonly kubeletFolder: string
  /** The node's name. */
  readonly nodeId: string
  readonly log: Logger
  readonly clock?: Clock
}

export interface CsiDriver {
  readonly name: string
  /** Whether another process has taken its place. */
  isReplaced(): Promise<boolean>
  /** Volumes stay as they are. kubelet forgets the driver; what it wants mounted or unmounted it tries again until one of this name is back. */
  close(): Promise<void>
}

/** Calls about one volume that may wait for their turn: kubelet has one, and again one when it grows impatient. */
const mostWaiting = 8

/**
 * A CSI node driver whose only volume is one folder of the node, for as long as the pod lives.
 * One of the same name that is still there, since pods have volumes of it, is replaced.
 * Rejects with the system's error when the folder cannot be made or a socket cannot be listened on.
 */
export async function startCsiDriver(options: CsiDriverOptions): Promise<CsiDriver> {
  const { driver, source, kubeletFolder, clock = systemClock } = options
  const log = options.log.child({ driver })
  await mkdir(source, { recursive: true, mode: 0o755 })
  const endpoint = join(kubeletFolder, 'plugins', driver, 'csi.sock')
  const folders = { source, kubelet: kubeletFolder }
  const methods: SocketMethods = new Map([
    ...identityMethods(driver),
    ...nodeMethods(options.nodeId, folders, log),
  ])
  const path = join(kubeletFolder, 'plugins_registry', `${driver}-reg.sock`)
  await Promise.all([endpoint, path].map(async (socket) => rm(socket, { force: true })))
  const csi = await serveOnSocket({ path: endpoint, methods, log, clock })
  const own = await fileOf(endpoint)
  try {
    const registration = await serveOnSocket({
      path,
      methods: registrationMethods(driver, endpoint, log),
      log,
      clock,
    })
    return {
      name: driver,
      isReplaced: async () => (await fileOf(endpoint)) !== own,
      async close() {
        await registration.close()
        await csi.close()
      },
    }
  } catch (err) {
    await csi.close()
    throw err
  }
}

/** Tells a file from another one at the same path. */
async function fileOf(path: string): Promise<string> {
  const { dev, ino, ctimeNs } = await lstat(path, { bigint: true })
  return `${dev} ${ino} ${ctimeNs}`
}

function registrationMethods(driver: string, endpoint: string, log: Logger): SocketMethods {
  const { getInfo, notifyRegistrationStatus } = RegistrationDefinition.methods
  return new Map([
    unary(RegistrationDefinition, getInfo, async () => ({
      type: 'CSIPlugin',
      name: driver,
      endpoint,
      supportedVersions: ['1.0.0'],
    })),
    unary(RegistrationDefinition, notifyRegistrationStatus, async ({ pluginRegistered, error }) => {
      if (pluginRegistered) log.info({}, 'registered with kubelet')
      else log.error({ err: error }, 'kubelet refuses the driver')
      return {}
    }),
  ])
}

function identityMethods(driver: string): SocketMethods {
  const { getPluginInfo, getPluginCapabilities, probe } = IdentityDefinition.methods
  return new Map([
    unary(IdentityDefinition, getPluginInfo, async () => ({ name: driver, vendorVersion: version })),
    unary(IdentityDefinition, getPluginCapabilities, async () => ({})),
    unary(IdentityDefinition, probe, async () => ({})),
  ])
}

function nodeMethods(nodeId: string, folders: Folders, log: Logger): SocketMethods {
  const inTurn = turnsByTarget()
  const published = async (request: NodePublishVolumeRequest): Promise<void> => {
    await publish(folders, request)
    log.info({ pod: podOf(request), volume: request.volumeId }, 'volume published')
  }
  const unpublished = async ({ volumeId, targetPath }: NodeUnpublishVolumeRequest): Promise<void> => {
    await unpublish(folders, volumeId, targetPath)
    log.info({ volume: volumeId }, 'volume unpublished')
  }
  const told = async (turn: Turn, work: () => Promise<void>): Promise<object> => {
    try {
      await inTurn(turn, work)
      return {}
    } catch (reason) {
      const err = NsmError.from(reason)
      log.warn({ code: err.code, err: err.message }, 'volume refused')
      throw err
    }
  }
  const { nodePublishVolume, nodeUnpublishVolume, nodeGetCapabilities, nodeGetInfo } = NodeDefinition.methods
  return new Map([
    unary(NodeDefinition, nodePublishVolume, (req, signal) =>
      told({ target: req.targetPath, signal }, () => published(req)),
    ),
    unary(NodeDefinition, nodeUnpublishVolume, (req, signal) =>
      told({ target: req.targetPath, signal }, () => unpublished(req)),
    ),
    unary(NodeDefinition, nodeGetCapabilities, async () => ({})),
    unary(NodeDefinition, nodeGetInfo, async () => ({ nodeId })),
  ])
}

interface Turn {
  readonly target: string
  /** Aborts when nobody waits for the turn any more. */
  readonly signal: AbortSignal
}

/** Runs what concerns one target one after another. */
function turnsByTarget(): (turn: Turn, work: () => Promise<void>) => Promise<void> {
  const queues = new Map<string, SerialQueue>()
  return async ({ target, signal }, work) => {
    const queue = queues.get(target) ?? serialQueue(mostWaiting)
    queues.set(target, queue)
    try {
      await queue.run(signal, work)
    } finally {
      if (queue.idle) queues.delete(target)
    }
  }
}

function podOf({ volumeContext }: NodePublishVolumeRequest): string {
  const [namespace, name] = ['namespace', 'name'].map(
    (part) => volumeContext[`csi.storage.k8s.io/pod.${part}`] ?? '?',
  )
  return `${namespace}/${name}`
}

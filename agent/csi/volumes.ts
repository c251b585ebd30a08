import { mkdir, realpath, rmdir, stat } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { native } from '@nsm/native/native.js'
import type { NodePublishVolumeRequest } from '@nsm/api/gen/csi.js'
import { NsmError } from '@nsm/sdk/errors.js'

/** Present and `true` for a volume that is written in the pod itself; kubelet tells when the CSIDriver object has podInfoOnMount. */
const ephemeral = 'csi.storage.k8s.io/ephemeral'

export interface Folders {
  /** What pods get to see. */
  readonly source: string
  /** Where kubelet keeps its pods' volumes, such as `/var/lib/kubelet`. */
  readonly kubelet: string
}

/**
 * Shows the source folder at the target. Again is fine; whatever else is mounted there gives way.
 * @throws NsmError INVALID_ARGUMENT for a volume that is not of the one kind that is offered, UNAVAILABLE without the source, INTERNAL.
 */
export async function publish(folders: Folders, request: NodePublishVolumeRequest): Promise<void> {
  checkKind(request)
  const target = await checkedTarget(folders, request.targetPath)
  if (target === undefined) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `target_path ${request.targetPath}: its parent folder does not exist`,
    )
  }
  await inWords(`cannot mount ${folders.source} on ${target}`, async () => {
    await mkdir(target, { mode: 0o750 }).catch(unless('EEXIST'))
    const source = await identityOf(folders.source)
    if (source === undefined) {
      throw new NsmError(
        'UNAVAILABLE',
        `${folders.source} is not there; the node agent makes it when it starts`,
      )
    }
    if ((await identityOf(target)) === source) return
    await native.unmount(target)
    await native.bindMount(folders.source, target)
  })
}

/** Takes the target away. Done already is fine, and so is a source that has gone. @throws NsmError INVALID_ARGUMENT, INTERNAL. */
export async function unpublish(folders: Folders, volumeId: string, targetPath: string): Promise<void> {
  if (volumeId === '') throw new NsmError('INVALID_ARGUMENT', 'volume_id is missing')
  const target = await checkedTarget(folders, targetPath)
  if (target === undefined) return
  await inWords(`cannot unmount ${target}`, async () => {
    await native.unmount(target)
    await rmdir(target).catch(unless('ENOENT'))
  })
}

function checkKind(request: NodePublishVolumeRequest): void {
  const { volumeId, volumeCapability, volumeContext, readonly } = request
  const faults = [
    volumeId === '' && 'volume_id is missing',
    volumeCapability?.accessType?.$case !== 'mount' &&
      'volume_capability must be a mount, not a block device',
    volumeContext[ephemeral] !== 'true' &&
      `volume must be written in the pod's own csi: entry (volume context ${ephemeral} must be "true")`,
    !readonly && 'volume must have readOnly: true',
  ].filter((fault) => fault !== false)
  if (faults.length > 0) throw new NsmError('INVALID_ARGUMENT', faults.join('; '))
}

/** The target, if it lies where kubelet keeps volumes of pods; undefined when its parent folder is not there. */
async function checkedTarget({ kubelet }: Folders, path: string): Promise<string | undefined> {
  const pods = join(kubelet, 'pods')
  if (path !== normalize(path) || path.endsWith('/') || !path.startsWith(`${pods}/`)) {
    throw new NsmError(
      'INVALID_ARGUMENT',
      `target_path must be an absolute path below ${pods}, not ${JSON.stringify(path)}`,
    )
  }
  const parent = await realpath(dirname(path)).catch(unless('ENOENT'))
  if (parent === undefined) return undefined
  if (!`${parent}/`.startsWith(`${await realpath(pods)}/`)) {
    throw new NsmError('INVALID_ARGUMENT', `target_path ${path} leads out of ${pods}`)
  }
  return path
}

/** Device and inode: the same for a folder and for what is shown of it elsewhere; undefined = it is not there. */
async function identityOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(unless('ENOENT'))
  return found === undefined ? undefined : `${found.dev} ${found.ino}`
}

function unless(code: string): (err: NodeJS.ErrnoException) => undefined {
  return (err) => {
    if (err.code !== code) throw err
  }
}

async function inWords(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    if (cause instanceof NsmError) throw cause
    throw new NsmError('INTERNAL', `${what}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    })
  }
}

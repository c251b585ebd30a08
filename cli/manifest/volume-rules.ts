import {
  both,
  fault,
  harmless,
  isObject,
  object,
  oneOf,
  text,
  truth,
  unsupported,
  type Rule,
} from './shape.ts'

/** Folders of a node that a pod may mount, and what stands for them: the Workload API's and the manager's sockets. */
export const workloadApiFolder = '/run/spire/sockets'
export const managerFolder = '/var/lib/networkservicemesh'
export const workloadApiDriver = 'csi.spiffe.io'
export const managerDriver = 'csi.networkservicemesh.io'

const inline = 'mount nothing from it, or run this on Kubernetes'
const kinds = {
  emptyDir: object({ medium: oneOf('', 'Memory'), sizeLimit: harmless }),
  hostPath: object(
    {
      path: oneOf(workloadApiFolder, managerFolder),
      type: oneOf('', 'Directory', 'DirectoryOrCreate'),
    },
    ['path'],
  ),
  csi: object(
    {
      driver: oneOf(workloadApiDriver, managerDriver),
      readOnly: truth,
      fsType: harmless,
      volumeAttributes: object({}),
      nodePublishSecretRef: unsupported(),
    },
    ['driver'],
  ),
  configMap: unsupported(inline),
  secret: unsupported(inline),
  projected: unsupported(inline),
  downwardAPI: unsupported('use env with valueFrom.fieldRef'),
  persistentVolumeClaim: unsupported(inline),
  ephemeral: unsupported(inline),
  image: unsupported(inline),
  nfs: unsupported(inline),
}

const oneKind: Rule = (value, path) => {
  const given = isObject(value) ? Object.keys(kinds).filter((kind) => isObject(value[kind])) : []
  return given.length === 1
    ? []
    : fault(path, `must have exactly one kind (emptyDir, csi or hostPath), not ${given.length}`)
}

/** A volume of a kind that the local mesh has. */
export const volume: Rule = both(
  object({ name: text(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'a DNS label'), ...kinds }, ['name']),
  oneKind,
)

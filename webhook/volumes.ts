import { corefileVolume } from './dns-container.ts'
import { InjectionError } from './injection-error.ts'
import { objectOf, objectsOf, type JsonObject } from './json.ts'
import { nsmFolder, nsmVolume, spireFolder, spireVolume } from './sidecar-container.ts'

/** How the node's sockets come into a pod; `auto` = by hostPath where Pod Security lets pods have that, else by CSI. */
export type SocketsWay = 'auto' | 'csi' | 'hostpath'

/** What decides about a pod's volumes. */
export interface VolumesInput {
  readonly sockets: SocketsWay
  /** Pod Security level that the namespace enforces; undefined = privileged. */
  readonly podSecurity: string | undefined
  /** Whether a CoreDNS container needs a place for its configuration. */
  readonly withCorefile: boolean
}

const sources = new Map([
  [spireVolume, { folder: spireFolder, driver: 'csi.spiffe.io' }],
  [nsmVolume, { folder: nsmFolder, driver: 'csi.networkservicemesh.io' }],
])

/** The volumes that the injected containers need and the pod has not. @throws InjectionError when a name is taken */
export function missingVolumes(spec: JsonObject, input: VolumesInput): readonly JsonObject[] {
  const present = objectsOf(spec['volumes'])
  const isByPath =
    input.sockets === 'auto'
      ? (input.podSecurity ?? 'privileged') === 'privileged'
      : input.sockets === 'hostpath'
  const volumes = [...sources].map(([name, { folder, driver }]) =>
    isByPath
      ? { name, hostPath: { path: folder, type: 'Directory' } }
      : { name, csi: { driver, readOnly: true } },
  )
  const all: readonly JsonObject[] = input.withCorefile ? [...volumes, corefileVolume] : volumes
  return all.filter(
    (volume) =>
      !isSameVolume(
        volume,
        present.find(({ name }) => name === volume['name']),
      ),
  )
}

/** An application may mount the same sockets itself; the name with anything else behind it cannot be shared. */
function isSameVolume({ name }: JsonObject, present: JsonObject | undefined): boolean {
  if (present === undefined) return false
  const source = sources.get(String(name))
  const isSame =
    source === undefined
      ? objectOf(present['emptyDir']) !== undefined
      : objectOf(present['hostPath'])?.['path'] === source.folder ||
        objectOf(present['csi'])?.['driver'] === source.driver
  if (isSame) return true
  throw new InjectionError(
    'volume_taken',
    `volume name ${JSON.stringify(name)} is needed for the injected container; rename the pod’s own`,
  )
}

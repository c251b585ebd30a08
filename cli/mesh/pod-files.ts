import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Container, PodSpec, Volume } from '../manifest/objects.ts'
import {
  managerDriver,
  managerFolder,
  workloadApiDriver,
  workloadApiFolder,
} from '../manifest/volume-rules.ts'
import type { Bind } from './runner.ts'

/** Folders of the node that stand behind pods' volumes. */
export interface NodeFolders {
  /** Holds the Workload API's socket. */
  readonly workloadApi: string
  /** Holds the node manager's socket. */
  readonly manager: string
}

export interface PodFilesOptions {
  readonly spec: PodSpec
  readonly namespace: string
  readonly hostname: string
  readonly podIp: string
  /** What stands for the cluster's DNS. */
  readonly nameserver: string
  readonly folder: string
  readonly node: NodeFolders
}

/** Writes the files that each pod has of its own; answers what a container of it mounts. */
export async function writePodFiles(
  options: PodFilesOptions,
): Promise<(container: Container) => readonly Bind[]> {
  const { folder, spec } = options
  const etc = join(folder, 'etc')
  await mkdir(etc, { recursive: true })
  const files = {
    'resolv.conf': resolvConf(options),
    hosts: hostsFile(options),
    hostname: `${options.hostname}\n`,
  }
  for (const [name, content] of Object.entries(files))
    await writeFile(join(etc, name), content, { mode: 0o644 })
  const fixed = Object.keys(files).map((name) => ({ source: join(etc, name), target: `/etc/${name}` }))

  const sources = new Map<string, { source: string; readOnly: boolean }>()
  for (const volume of spec.volumes ?? []) sources.set(volume.name, await volumeSource(volume, options))
  return (container) => [
    ...fixed,
    ...(container.volumeMounts ?? []).flatMap(({ name, mountPath, readOnly = false }) => {
      const found = sources.get(name)
      return found === undefined
        ? []
        : [{ source: found.source, target: mountPath, readOnly: readOnly || found.readOnly }]
    }),
  ]
}

async function volumeSource(
  volume: Volume,
  { folder, node }: PodFilesOptions,
): Promise<{ source: string; readOnly: boolean }> {
  const { hostPath, csi } = volume
  if (hostPath?.path === workloadApiFolder || csi?.driver === workloadApiDriver)
    return { source: node.workloadApi, readOnly: csi?.readOnly === true }
  if (hostPath?.path === managerFolder || csi?.driver === managerDriver)
    return { source: node.manager, readOnly: csi?.readOnly === true }
  if (volume.emptyDir === undefined)
    throw new NsmError(
      'INVALID_ARGUMENT',
      `volume ${volume.name} is of a kind that the local mesh does not have`,
    )
  const source = join(folder, 'volumes', volume.name)
  await mkdir(source, { recursive: true })
  // As kubelet does: whichever user a container runs as may write.
  await chmod(source, 0o777)
  return { source, readOnly: false }
}

/** As kubelet writes it (dnsPolicy, dnsConfig). No name server answers by default: look-ups fail at once. */
function resolvConf({ spec, namespace, nameserver }: PodFilesOptions): string {
  const { dnsPolicy = 'ClusterFirst', dnsConfig = {} } = spec
  const cluster = dnsPolicy.startsWith('ClusterFirst')
  const searches = cluster ? [`${namespace}.svc.cluster.local`, 'svc.cluster.local', 'cluster.local'] : []
  const options = (dnsConfig.options ?? []).map(({ name, value }) =>
    value === undefined ? name : `${name}:${value}`,
  )
  const given = dnsConfig.nameservers ?? []
  return [
    ...[...(dnsPolicy === 'None' ? [] : [nameserver]), ...given].map((address) => `nameserver ${address}`),
    line('search', [...searches, ...(dnsConfig.searches ?? [])]),
    line('options', cluster ? ['ndots:5', ...options] : options),
    '',
  ]
    .filter((text, i, all) => text !== '' || i === all.length - 1)
    .join('\n')
}

function line(keyword: string, words: readonly string[]): string {
  return words.length === 0 ? '' : `${keyword} ${words.join(' ')}`
}

function hostsFile({ spec, hostname, podIp }: PodFilesOptions): string {
  const aliases = (spec.hostAliases ?? []).map(({ ip, hostnames }) => `${ip}\t${hostnames.join('\t')}`)
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    `${podIp}\t${hostname}`,
    ...aliases,
    '',
  ].join('\n')
}

import { normalize } from 'node:path'
import { excludedPrefixesPath } from '@nsm/sdk/elements/excluded-prefixes-file.js'
import {
  commonVariables,
  identityVariables,
  placementVariables,
  unsupportedEverywhere,
  type CommonConfig,
  type IdentityConfig,
  type PlacementConfig,
} from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { serverPolicies } from '@nsm/sdk/process/policy-variables.js'
import { custom, duration, list, text, url, urls, type Variable } from '@nsm/sdk/process/variables.js'

/** Configuration of the node's manager (wire contract §7.1, §7.2 cmd-nsmgr). */
export interface ManagerConfig extends CommonConfig, IdentityConfig, PlacementConfig {
  readonly name: string
  readonly listenOn: readonly string[]
  readonly registryUrl: string
  readonly dialTimeoutMs: number
  readonly forwarderService: string
  readonly excludedPrefixesFile: string
  readonly observers: readonly string[]
  readonly serverPolicies: readonly string[]
  readonly sharedSocketFolders: readonly string[]
}

/** Reads it from the environment. */
export const managerConfig: ConfigSchema<ManagerConfig> = defineConfig<ManagerConfig>(
  {
    ...commonVariables(':8081'),
    ...identityVariables,
    ...placementVariables,
    name: text('NSM_NAME', 'nmgr', 'path segment name; no neighbour on a path may have the same'),
    listenOn: urls(
      'NSM_LISTEN_ON',
      'unix:///var/lib/networkservicemesh/nsm.io.sock',
      'where clients, endpoints and other nodes connect; other nodes use the first tcp:// one',
    ),
    registryUrl: url('NSM_REGISTRY_URL', 'tcp://localhost:5001', 'where the registry listens'),
    dialTimeoutMs: duration('NSM_DIAL_TIMEOUT', '750ms', 'how long a session to a peer may take to come up'),
    forwarderService: text(
      'NSM_FORWARDER_NETWORK_SERVICE_NAME',
      'forwarder',
      'network service that forwarders register',
    ),
    excludedPrefixesFile: text(
      'NSM_EXCLUDED_PREFIXES_FILE',
      excludedPrefixesPath,
      'YAML file with the prefixes that no endpoint may hand out; followed when it changes',
    ),
    observers: list(
      'NSM_OBSERVERS',
      '',
      'SPIFFE IDs that may watch all connections; others hear only of those on whose path they are',
    ),
    serverPolicies: serverPolicies(),
    sharedSocketFolders: folders(
      'NSM_SHARED_SOCKET_FOLDERS',
      'folders that endpoints share with the manager, at the same path in both: a socket in there may be registered by its path, without its descriptor',
    ),
  },
  unsupportedEverywhere,
)

/** None by default. */
function folders(name: string, meaning: string): Variable<readonly string[]> {
  return { ...custom('list of folders', readFolders, [name, '', meaning]), emptyIsValue: true }
}

function readFolders(value: string): readonly string[] {
  const all = value === '' ? [] : value.split(',')
  const wrong = all.find((folder) => !/^\/[^/]/.test(folder) || folder !== normalize(folder))
  if (wrong !== undefined) throw new Error(`must be absolute paths of folders, not ${JSON.stringify(wrong)}`)
  return all
}

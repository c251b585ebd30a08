import {
  commonVariables,
  unsupportedEverywhere,
  type CommonConfig,
} from '@nsm/sdk/process/common-variables.js'
import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { choice, custom, text } from '@nsm/sdk/process/variables.js'
import { parsePrefix, type Prefix } from '@nsm/sdk/net/prefix.js'
import { excludedPrefixesPath } from '@nsm/sdk/elements/excluded-prefixes-file.js'

/** Configuration of the collector of excluded prefixes (wire contract §7.2 cmd-exclude-prefixes-k8s). */
export interface CollectorConfig extends CommonConfig {
  readonly excludedPrefixes: readonly Prefix[]
  readonly configMapNamespace: string
  readonly configMapName: string
  readonly configMapKey: string
  readonly outputType: 'file' | 'config-map'
  readonly outputFilePath: string
  readonly outputConfigMapName: string
  readonly outputConfigMapKey: string
}

/** Reads it from the environment. */
export const collectorConfig: ConfigSchema<CollectorConfig> = defineConfig<CollectorConfig>(
  {
    ...commonVariables(':8085'),
    excludedPrefixes: {
      ...custom('list of prefixes', readPrefixes, [
        'NSM_EXCLUDED_PREFIXES',
        '',
        'prefixes that are excluded in any case, such as 192.168.0.0/16,fd00::/8',
      ]),
      emptyIsValue: true,
    },
    configMapNamespace: text(
      'NSM_CONFIG_MAP_NAMESPACE',
      'default',
      'namespace of the ConfigMaps that are read and written',
    ),
    configMapName: text(
      'NSM_CONFIG_MAP_NAME',
      'excluded-prefixes-config',
      'ConfigMap in which users name prefixes of their own; it may be missing',
    ),
    configMapKey: text(
      'NSM_CONFIG_MAP_KEY',
      'excluded_prefixes_input.yaml',
      'its key: YAML with a list under prefixes',
    ),
    outputType: choice('NSM_PREFIXES_OUTPUT_TYPE', 'file', 'where the prefixes are written', [
      'file',
      'config-map',
    ]),
    outputFilePath: text('NSM_OUTPUT_FILE_PATH', excludedPrefixesPath, 'file that is written'),
    outputConfigMapName: text(
      'NSM_OUTPUT_CONFIG_MAP_NAME',
      'nsm-config',
      'ConfigMap that is written; it must be there',
    ),
    outputConfigMapKey: text('NSM_OUTPUT_CONFIG_MAP_KEY', 'excluded_prefixes_output.yaml', 'its key'),
  },
  unsupportedEverywhere,
)

function readPrefixes(value: string): readonly Prefix[] {
  if (value === '') return []
  return value.split(',').map((item) => {
    const prefix = parsePrefix(item.trim())
    if (prefix === undefined) throw new Error('must be prefixes such as 10.96.0.0/12,fd00::/8')
    return prefix
  })
}

import { jsonLog } from '@nsm/sdk/process/json-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { sidecarConfig } from './config.ts'
import { startSidecar } from './sidecar.ts'

void run({ name: 'sidecar', config: sidecarConfig, openLog: jsonLog, start: startSidecar })

import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { registryConfig } from './config.ts'
import { startRegistry } from './registry.ts'

void run({ name: 'registry', config: registryConfig, openLog: pinoLog, start: startRegistry })

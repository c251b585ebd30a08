import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { managerConfig } from './config.ts'
import { startManager } from './manager.ts'

void run({ name: 'nsmgr', config: managerConfig, openLog: pinoLog, start: startManager })

import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { startCollector } from './collector.ts'
import { collectorConfig } from './config.ts'

void run({ name: 'prefixes', config: collectorConfig, openLog: pinoLog, start: startCollector })

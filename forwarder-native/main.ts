import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { forwarderConfig } from './config.ts'
import { startForwarder } from './forwarder.ts'

void run({ name: 'forwarder', config: forwarderConfig, openLog: pinoLog, start: startForwarder })

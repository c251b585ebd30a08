import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { startAgent } from './agent.ts'
import { agentConfig } from './config.ts'

void run({ name: 'agent', config: agentConfig, openLog: pinoLog, start: startAgent })

import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { startAgent } from './agent.ts'
import { agentConfig } from './config.ts'

/** Only an agent without a successor takes that long: pods' volumes outlive it. */
const drainMs = 600_000

void run({ name: 'agent', config: agentConfig, openLog: pinoLog, start: startAgent, drainMs })

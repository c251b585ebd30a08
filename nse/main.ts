import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { icmpResponderConfig } from './config.ts'
import { startIcmpResponder } from './icmp-responder.ts'

void run({ name: 'icmp-responder', config: icmpResponderConfig, openLog: pinoLog, start: startIcmpResponder })

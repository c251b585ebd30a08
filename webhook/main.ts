import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { webhookConfig } from './config.ts'
import { closeMs, startWebhook } from './webhook.ts'

void run({
  name: 'webhook',
  config: webhookConfig,
  openLog: pinoLog,
  start: startWebhook,
  drainMs: closeMs,
})

import { commonVariables, type CommonConfig } from '@nsm/sdk/process/common-variables.js'
import { defineConfig } from '@nsm/sdk/process/config.js'
import { jsonLog } from '@nsm/sdk/process/json-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { choice } from '@nsm/sdk/process/variables.js'

interface ExampleConfig extends CommonConfig {
  readonly does: 'serve' | 'hang' | 'fail' | 'throw' | 'reject' | 'reset' | 'end' | 'never-start'
}

const config = defineConfig<ExampleConfig>({
  ...commonVariables('off'),
  does: choice('NSM_DOES', 'serve', 'what goes wrong', [
    'serve',
    'hang',
    'fail',
    'throw',
    'reject',
    'reset',
    'end',
    'never-start',
  ]),
})

/** A process for the tests of the process kit: serves, or fails in the way that it is told. */
void run<ExampleConfig>({
  name: 'example',
  config,
  openLog: jsonLog,
  drainMs: 200,
  start: async ({ does }, log) => {
    if (does === 'fail') throw new Error('cannot start')
    if (does === 'never-start') {
      log.info({}, 'starting')
      await new Promise(() => undefined)
    }
    if (does === 'throw') setTimeout(() => undefinedFunction())
    if (does === 'reject') void Promise.reject(new Error('nobody listens'))
    if (does === 'reset') setTimeout(() => reset())
    process.on('SIGUSR1', () => log.debug({}, 'a detail'))
    process.on('SIGUSR2', () => {
      log.debug({}, 'a hidden detail')
      log.info({}, 'less')
    })
    return {
      close: async () => (does === 'hang' ? new Promise(() => undefined) : undefined),
      ...(does === 'end' ? { ended: Promise.resolve() } : {}),
    }
  },
})

function undefinedFunction(): never {
  throw new TypeError('a mistake')
}

function reset(): never {
  throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
}

import { startEndpoint, type EndpointConfig } from '@nsm/nse/endpoint.js'
import { endpointVariables } from '@nsm/nse/endpoint-variables.js'
import { ipamPointToPoint } from '@nsm/sdk/elements/ipam-point-to-point.js'
import { kernelServer } from '@nsm/sdk/elements/kernel-server.js'
import { mechanisms } from '@nsm/sdk/elements/mechanisms.js'
import type { Prefix } from '@nsm/sdk/net/prefix.js'
import { parsePrefixGroups } from '@nsm/sdk/net/prefix-groups.js'
import { defineConfig } from '@nsm/sdk/process/config.js'
import { pinoLog } from '@nsm/sdk/process/pino-log.js'
import { run } from '@nsm/sdk/process/run.js'
import { custom } from '@nsm/sdk/process/variables.js'
import { quota } from './quota.ts'

interface Config extends EndpointConfig {
  readonly pools: readonly (readonly Prefix[])[]
  readonly maxClients: number
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new Error('must be a number from 1 to 99999')
  return Number(text)
}

const config = defineConfig<Config>({
  ...endpointVariables('table', 'table'),
  pools: custom('address pools', parsePrefixGroups, [
    'NSM_CIDR_PREFIX',
    '172.16.9.0/24',
    'where clients’ addresses are from',
  ]),
  maxClients: custom('number', parseCount, ['NSM_MAX_CLIENTS', '1', 'how many clients are served at a time']),
})

/** An endpoint with an element of its own. What comes first in the list sees a call first. */
void run<Config>({
  name: 'table',
  config,
  openLog: pinoLog,
  start: async (given, log, signal) =>
    startEndpoint(
      {
        app: 'table',
        config: given,
        elements: [
          quota(given.maxClients),
          ipamPointToPoint({ groups: given.pools, policy: 'polite' }),
          mechanisms({ KERNEL: kernelServer() }),
        ],
        close: () => undefined,
      },
      log,
      signal,
    ),
})

import { dnsContext } from '@nsm/sdk/elements/dns-context.js'
import { ipamPointToPoint } from '@nsm/sdk/elements/ipam-point-to-point.js'
import { kernelServer } from '@nsm/sdk/elements/kernel-server.js'
import { mechanisms } from '@nsm/sdk/elements/mechanisms.js'
import { noopMechanism } from '@nsm/sdk/elements/noop-mechanism.js'
import { policyRoutes } from '@nsm/sdk/elements/policy-routes.js'
import { policyRoutesFile } from '@nsm/sdk/elements/policy-routes-file.js'
import type { Logger } from '@nsm/sdk/log.js'
import type { Service } from '@nsm/sdk/process/run.js'
import type { IcmpResponderConfig } from './config.ts'
import { startEndpoint } from './endpoint.ts'

/**
 * An endpoint that gives each client a link with addresses, routes and DNS of the configuration. Nothing of it answers pings:
 * the endpoint's pod does, as soon as it has its end of the link.
 *
 * This is the example to start an endpoint of one's own from: an endpoint is a list of elements.
 */
export async function startIcmpResponder(
  config: IcmpResponderConfig,
  log: Logger,
  signal: AbortSignal,
): Promise<Service> {
  const policies = await policyRoutesFile(config.policyRoutesPath, log)
  const elements = [
    policyRoutes(() => policies.policies()),
    ipamPointToPoint({ groups: config.prefixGroups, policy: config.ipamPolicy }),
    dnsContext(config.dnsConfigs),
    mechanisms({ KERNEL: kernelServer(), NOOP: noopMechanism }),
  ]
  return startEndpoint(
    { app: 'icmp-responder', config, elements, close: () => policies.close() },
    log,
    signal,
  )
}

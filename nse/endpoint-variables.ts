import { payloads } from '@nsm/api/constants.js'
import {
  commonVariables,
  connectTo,
  identityVariables,
  placementVariables,
} from '@nsm/sdk/process/common-variables.js'
import type { Variables } from '@nsm/sdk/process/config.js'
import { clientPolicies } from '@nsm/sdk/process/policy-variables.js'
import { boolean, choice, duration, list, map, optional, text } from '@nsm/sdk/process/variables.js'
import type { EndpointConfig } from './endpoint.ts'

/**
 * The variables of every endpoint (wire contract §7.1, §7.2), to which each adds its own.
 * @param name its default name, and that of the service that it serves by default
 */
export function endpointVariables(name: string, service: string): Variables<EndpointConfig> {
  return {
    // Not :8080: what an endpoint's pod serves to its clients often is.
    ...commonVariables(':9081'),
    ...identityVariables,
    ...placementVariables,
    ...connectTo(),
    name: text('NSM_NAME', name, 'name of the endpoint; no neighbour on a path may have the same'),
    baseDir: optional(
      text(
        'NSM_BASE_DIR',
        undefined,
        'where the folder of the socket is made; unset = the system’s temporary folder',
      ),
    ),
    serviceNames: list('NSM_SERVICE_NAMES', service, 'network services that the endpoint serves'),
    payload: choice('NSM_PAYLOAD', payloads.ETHERNET, 'payload of these services', [
      payloads.ETHERNET,
      payloads.IP,
    ]),
    labels: map('NSM_LABELS', '', 'labels of the endpoint, for every service'),
    idleTimeoutMs: duration(
      'NSM_IDLE_TIMEOUT',
      '0',
      'how long without connections before the endpoint exits; 0 = never',
    ),
    registerService: boolean(
      'NSM_REGISTER_SERVICE',
      'true',
      'whether the network services are registered, too',
    ),
    unregisterItself: boolean(
      'NSM_UNREGISTER_ITSELF',
      'false',
      'whether the endpoint is unregistered when it exits',
    ),
    clientPolicies: clientPolicies(),
  }
}

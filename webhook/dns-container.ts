import type { JsonObject } from './json.ts'
import { resourcesOf, restrictedSecurity, type Resources } from './sidecar-container.ts'

/** Name of the container, which people look for. */
export const dnsContainerName = 'dns'
/** Volume that the sidecar writes the Corefile to. */
export const corefileVolume: JsonObject = { name: 'nsm-dns', emptyDir: {} }
const corefileFolder = '/etc/coredns'

/** The sidecar's mount of the Corefile's folder. */
export const corefileMount: JsonObject = { name: corefileVolume['name'], mountPath: corefileFolder }

/**
 * CoreDNS with the fanout plugin, as a native sidecar that starts when the Corefile is there.
 * It meets Pod Security level restricted: the capability is for images whose binary demands it, the pod's sysctl lets it listen.
 */
export function dnsContainer(image: string, resources: Resources): JsonObject {
  return {
    name: dnsContainerName,
    image,
    args: ['-conf', `${corefileFolder}/Corefile`],
    restartPolicy: 'Always',
    resources: resourcesOf(resources),
    volumeMounts: [{ ...corefileMount, readOnly: true }],
    startupProbe: { tcpSocket: { port: 53 }, periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 60 },
    livenessProbe: { tcpSocket: { port: 53 }, periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 3 },
    securityContext: {
      ...restrictedSecurity,
      capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
    },
  }
}

import { stringify } from 'yaml'

/** YAML of objects for the local mesh. */
export function yamlOf(...objects: readonly object[]): string {
  return objects.map((object) => stringify(object)).join('---\n')
}

export function namespace(name: string, more: object = {}): object {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, ...more } }
}

/** A pod that sleeps; `urls`: its annotation. */
export function client(inNamespace: string, name: string, urls?: string): object {
  const annotations = urls === undefined ? {} : { annotations: { 'networkservicemesh.io': urls } }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: inNamespace, ...annotations },
    spec: { terminationGracePeriodSeconds: 1, containers: [{ name: 'app', command: ['sleep', 'infinity'] }] },
  }
}

/** An icmp-responder with these variables, in a pod of its own. */
export function endpoint(
  inNamespace: string,
  name: string,
  variables: Readonly<Record<string, string>>,
): object {
  const env = Object.entries({
    SPIFFE_ENDPOINT_SOCKET: 'unix:///run/spire/sockets/agent.sock',
    NSM_NAME: name,
    ...variables,
  }).map(([key, value]) => ({ name: key, value }))
  const mounts = { sockets: '/run/spire/sockets', manager: '/var/lib/networkservicemesh' }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: inNamespace },
    spec: {
      terminationGracePeriodSeconds: 5,
      containers: [
        {
          name: 'endpoint',
          image: 'icmp-responder',
          env,
          volumeMounts: Object.entries(mounts).map(([volume, mountPath]) => ({ name: volume, mountPath })),
        },
      ],
      volumes: [
        { name: 'sockets', csi: { driver: 'csi.spiffe.io', readOnly: true } },
        { name: 'manager', hostPath: { path: mounts.manager } },
      ],
    },
  }
}

/** A pod with a sleeping container and a sidecar of its own, configured by hand: no annotation, no webhook. */
export function requester(
  inNamespace: string,
  name: string,
  variables: Readonly<Record<string, string>>,
): object {
  const pod = endpoint(inNamespace, name, { NSM_LOCAL_DNS_SERVER_ENABLED: 'false', ...variables }) as {
    readonly spec: { readonly containers: readonly object[] }
  }
  const containers = [
    { name: 'app', command: ['sleep', 'infinity'] },
    ...pod.spec.containers.map((one) => ({ ...one, name: 'nsc', image: 'sidecar' })),
  ]
  return { ...pod, spec: { ...pod.spec, containers } }
}

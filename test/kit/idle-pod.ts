/** A pod as `idlePod` makes it. */
export interface IdlePod {
  readonly spec: {
    readonly containers: readonly [{ readonly volumeMounts: readonly object[] }]
  }
}

/** A pod with the sockets of the mesh that does nothing by itself: programs are run in it. */
export function idlePod(inNamespace: string, name: string): IdlePod {
  const mounts = { sockets: '/run/spire/sockets', manager: '/var/lib/networkservicemesh' }
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: inNamespace },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'app',
          command: ['sleep', 'infinity'],
          volumeMounts: Object.entries(mounts).map(([volume, mountPath]) => ({ name: volume, mountPath })),
        },
      ] as const,
      volumes: [
        { name: 'sockets', csi: { driver: 'csi.spiffe.io', readOnly: true } },
        { name: 'manager', csi: { driver: 'csi.networkservicemesh.io', readOnly: true } },
      ],
    },
  }
  return pod
}

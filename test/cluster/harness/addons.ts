import { corednsImage } from './image-archive.ts'
import { dnsAddress } from './layout.ts'

type KubernetesObject = Readonly<Record<string, unknown>>

const bind = (name: string, user: string, role: string): KubernetesObject => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
  subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
})

/** What the API server does not grant by itself: itself access to kubelets, for exec and logs. */
export const grants: readonly KubernetesObject[] = [
  bind('kube-apiserver-to-kubelet', 'kube-apiserver-kubelet-client', 'system:kubelet-api-admin'),
]

const metadata = { name: 'coredns', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } }

const corefile = `.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods verified
    }
    cache 5
    reload
}
`

const probe = (port: number, path: string): KubernetesObject => ({
  httpGet: { port, path },
  periodSeconds: 2,
})

const deployment: KubernetesObject = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata,
  spec: {
    replicas: 1,
    selector: { matchLabels: metadata.labels },
    template: {
      metadata: { labels: metadata.labels },
      spec: {
        serviceAccountName: 'coredns',
        priorityClassName: 'system-cluster-critical',
        dnsPolicy: 'Default',
        volumes: [{ name: 'config', configMap: { name: 'coredns' } }],
        containers: [
          {
            name: 'coredns',
            image: corednsImage,
            imagePullPolicy: 'Never',
            args: ['-conf', '/etc/coredns/Corefile'],
            ports: [{ name: 'dns', containerPort: 53, protocol: 'UDP' }],
            volumeMounts: [{ name: 'config', mountPath: '/etc/coredns', readOnly: true }],
            readinessProbe: probe(8181, '/ready'),
            livenessProbe: probe(8080, '/health'),
            resources: { requests: { cpu: '20m', memory: '40Mi' } },
          },
        ],
      },
    },
  },
}

const port = (name: string, protocol: string): KubernetesObject => ({
  name,
  protocol,
  port: 53,
  targetPort: 53,
})

/** DNS of the cluster as clusters have it: Service kube-dns in kube-system. Names outside the cluster are refused. */
export const clusterDns: readonly KubernetesObject[] = [
  { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
  {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: { name: 'system:coredns' },
    rules: [
      { apiGroups: [''], resources: ['services', 'pods', 'namespaces'], verbs: ['list', 'watch'] },
      { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] },
    ],
  },
  bind('system:coredns', 'system:serviceaccount:kube-system:coredns', 'system:coredns'),
  { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { Corefile: corefile } },
  deployment,
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { ...metadata, name: 'kube-dns' },
    spec: {
      clusterIP: dnsAddress,
      selector: metadata.labels,
      ports: [port('dns', 'UDP'), port('dns-tcp', 'TCP')],
    },
  },
]

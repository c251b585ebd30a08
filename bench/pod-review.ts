/** An AdmissionReview as API servers send it for a pod of a Deployment: defaults filled in, token volume, field owners. About 6 kB with one container. */
export function podReview(containers: number): unknown {
  return {
    kind: 'AdmissionReview',
    apiVersion: 'admission.k8s.io/v1',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      requestKind: { group: '', version: 'v1', kind: 'Pod' },
      requestResource: { group: '', version: 'v1', resource: 'pods' },
      namespace: 'shop',
      operation: 'CREATE',
      userInfo: {
        username: 'system:serviceaccount:kube-system:replicaset-controller',
        uid: 'f1d1a0c6-5a0f-4f0c-9a3e-3f2b0f2f2a10',
        groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system', 'system:authenticated'],
      },
      object: pod(containers),
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
    },
  }
}

function pod(containers: number): unknown {
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata,
    spec: {
      volumes: [
        { name: 'config', configMap: { name: 'orders', defaultMode: 420 } },
        { name: 'data', persistentVolumeClaim: { claimName: 'orders' } },
        tokenVolume,
      ],
      initContainers: [container('migrate', 0)],
      containers: Array.from({ length: containers }, (_, i) => container(`orders-${i}`, i)),
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 30,
      dnsPolicy: 'ClusterFirst',
      serviceAccountName: 'orders',
      serviceAccount: 'orders',
      securityContext: { fsGroup: 1_000 },
      schedulerName: 'default-scheduler',
      tolerations: ['not-ready', 'unreachable'].map((what) => ({
        key: `node.kubernetes.io/${what}`,
        operator: 'Exists',
        effect: 'NoExecute',
        tolerationSeconds: 300,
      })),
      priority: 0,
      enableServiceLinks: true,
      preemptionPolicy: 'PreemptLowerPriority',
    },
    status: {},
  }
}

const metadata = {
  generateName: 'orders-7d9c6b8f5d-',
  creationTimestamp: null,
  labels: {
    'app.kubernetes.io/name': 'orders',
    'app.kubernetes.io/instance': 'shop',
    'pod-template-hash': '7d9c6b8f5d',
  },
  annotations: {
    'networkservicemesh.io': 'kernel://db-replication/nsm-1?app=postgres&zone=a,kernel://audit/nsm-2',
    'prometheus.io/scrape': 'true',
    'checksum/config': 'f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2',
  },
  ownerReferences: [
    {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      name: 'orders-7d9c6b8f5d',
      uid: '0d4e7a2b-7a63-4a64-9d62-8a1b5a2f7c11',
      controller: true,
      blockOwnerDeletion: true,
    },
  ],
  managedFields: [
    {
      manager: 'kube-controller-manager',
      operation: 'Update',
      apiVersion: 'v1',
      fieldsType: 'FieldsV1',
      fieldsV1: { 'f:metadata': owned(20), 'f:spec': owned(60) },
    },
  ],
}

const tokenVolume = {
  name: 'kube-api-access-x7k2p',
  projected: {
    sources: [
      { serviceAccountToken: { expirationSeconds: 3_607, path: 'token' } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
    ],
    defaultMode: 420,
  },
}

function container(name: string, index: number): unknown {
  const probe = { httpGet: { path: '/healthz', port: 'http', scheme: 'HTTP' }, periodSeconds: 10 }
  return {
    name,
    image:
      'registry.example.com/shop/orders@sha256:1b2c3d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeeff001',
    args: ['--config=/etc/orders/config.yaml', '--log-level=info'],
    ports: [{ name: `http-${index}`, containerPort: 8_000 + index, protocol: 'TCP' }],
    env: [
      { name: 'POD_NAME', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } },
      { name: 'DB_PASSWORD', valueFrom: { secretKeyRef: { name: 'orders-db', key: 'password' } } },
      { name: 'DB_HOST', value: 'orders-db.shop.svc' },
    ],
    resources: { limits: { cpu: '1', memory: '512Mi' }, requests: { cpu: '100m', memory: '256Mi' } },
    volumeMounts: [
      { name: 'config', readOnly: true, mountPath: '/etc/orders' },
      { name: tokenVolume.name, readOnly: true, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' },
    ],
    livenessProbe: probe,
    readinessProbe: probe,
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: 'IfNotPresent',
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
  }
}

/** As many fields as the owner of a pod of this size has. */
function owned(fields: number): unknown {
  return Object.fromEntries(Array.from({ length: fields }, (_, i) => [`f:field${i}`, { '.': {} }]))
}

import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { run } from './command.ts'
import type { Layout } from './layout.ts'

/** Whom a certificate names: `O` is the Kubernetes group, `CN` the user. */
interface Subject {
  readonly commonName: string
  readonly organization?: string
  /** Such as `DNS:localhost` or `IP:127.0.0.1`. */
  readonly alternatives?: readonly string[]
}

/** Path of a certificate or key of the cluster: `NAME.crt`, `NAME.key`. */
export function pkiFile(layout: Layout, name: string): string {
  return path.join(layout.folder, 'pki', name)
}

/** Makes the authorities, certificates, keys and kubeconfigs that the cluster's parts know each other by, once. */
export async function makePki(layout: Layout): Promise<void> {
  if (existsSync(layout.kubeconfig)) return
  await mkdir(pkiFile(layout, ''), { recursive: true, mode: 0o700 })
  // Nothing of the machine's own configuration goes into the certificates.
  await writeFile(pkiFile(layout, 'openssl.cnf'), '[req]\ndistinguished_name = dn\n[dn]\n')
  await Promise.all(['ca', 'front-proxy-ca'].map(async (name) => authority(layout, name)))
  await Promise.all([
    ...Object.entries(subjects(layout)).map(async ([name, subject]) => issue(layout, name, subject)),
    issue(layout, 'front-proxy-client', { commonName: 'front-proxy-client' }, 'front-proxy-ca'),
    serviceAccountKey(layout),
  ])
  for (const name of kubeconfigUsers(layout)) await writeKubeconfig(layout, name)
  await writeFile(layout.kubeconfig, kubeconfig(layout, 'admin'), { mode: 0o600 })
}

function subjects(layout: Layout): Record<string, Subject> {
  return {
    admin: { commonName: 'cluster-admin', organization: 'system:masters' },
    'kube-apiserver': {
      commonName: 'kube-apiserver',
      alternatives: [
        ...['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'localhost'].map(
          (name) => `DNS:${name}`,
        ),
        'DNS:kubernetes.default.svc.cluster.local',
        ...['10.96.0.1', '127.0.0.1', layout.controlAddress].map((address) => `IP:${address}`),
      ],
    },
    'kubelet-client': { commonName: 'kube-apiserver-kubelet-client' },
    'kube-controller-manager': { commonName: 'system:kube-controller-manager' },
    'kube-scheduler': { commonName: 'system:kube-scheduler' },
    'kube-proxy': { commonName: 'system:kube-proxy' },
    ...Object.fromEntries(
      layout.nodes.map((node) => [
        node.name,
        {
          commonName: `system:node:${node.name}`,
          organization: 'system:nodes',
          alternatives: [`DNS:${node.name}`, `IP:${node.address}`],
        },
      ]),
    ),
  }
}

function kubeconfigUsers(layout: Layout): string[] {
  return ['kube-controller-manager', 'kube-scheduler', 'kube-proxy', ...layout.nodes.map((node) => node.name)]
}

async function authority(layout: Layout, name: string): Promise<void> {
  const extensions = [
    'basicConstraints=critical,CA:TRUE',
    'keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign',
  ]
  await certificate(layout, name, { subject: `/CN=${name}`, extensions })
}

async function issue(layout: Layout, name: string, subject: Subject, issuer = 'ca'): Promise<void> {
  const { commonName, organization, alternatives = [] } = subject
  const group = organization === undefined ? '' : `/O=${organization}`
  const extensions = [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    'extendedKeyUsage=serverAuth,clientAuth',
    ...(alternatives.length > 0 ? [`subjectAltName=${alternatives.join(',')}`] : []),
  ]
  await certificate(layout, name, { subject: `${group}/CN=${commonName}`, extensions, issuer })
}

/** Makes NAME.key and NAME.crt, signed by `issuer` or by itself. */
async function certificate(
  layout: Layout,
  name: string,
  request: { subject: string; extensions: readonly string[]; issuer?: string },
): Promise<void> {
  const { subject, extensions, issuer } = request
  const file = (extension: string): string => pkiFile(layout, extension)
  await run([
    ...['openssl', 'req', '-x509', '-config', file('openssl.cnf'), '-days', '365', '-subj', subject],
    ...['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)],
    ...extensions.flatMap((extension) => ['-addext', extension]),
    ...(issuer === undefined ? [] : ['-CA', file(`${issuer}.crt`), '-CAkey', file(`${issuer}.key`)]),
  ])
}

async function serviceAccountKey(layout: Layout): Promise<void> {
  const key = pkiFile(layout, 'service-accounts.key')
  await run(['openssl', 'genrsa', '-out', key, '2048'])
  await run(['openssl', 'rsa', '-in', key, '-pubout', '-out', pkiFile(layout, 'service-accounts.pub')])
}

async function writeKubeconfig(layout: Layout, name: string): Promise<void> {
  await writeFile(pkiFile(layout, `${name}.kubeconfig`), kubeconfig(layout, name), { mode: 0o600 })
}

function kubeconfig(layout: Layout, user: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': layout.name,
    contexts: [{ name: layout.name, context: { cluster: layout.name, user } }],
    clusters: [
      {
        name: layout.name,
        cluster: { server: layout.server, 'certificate-authority': pkiFile(layout, 'ca.crt') },
      },
    ],
    users: [
      {
        name: user,
        user: {
          'client-certificate': pkiFile(layout, `${user}.crt`),
          'client-key': pkiFile(layout, `${user}.key`),
        },
      },
    ],
  })
}

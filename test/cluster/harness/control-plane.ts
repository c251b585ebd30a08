import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { kubectl } from './client.ts'
import { daemonReady, startDaemon, type Daemon } from './daemon.ts'
import { serviceCidr, type Layout } from './layout.ts'
import { pkiFile } from './pki.ts'
import type { Tools } from './tools.ts'

/** The processes of a control plane, in the order in which they start. */
export interface ControlPlane {
  readonly etcd: Daemon
  readonly apiServer: Daemon
  readonly controllerManager: Daemon
  readonly scheduler: Daemon
}

export function controlPlaneOf(layout: Layout, tools: Tools): ControlPlane {
  const daemon = (name: string, argv: readonly string[]): Daemon => ({
    name,
    cgroup: `${layout.cgroup}/${name}`,
    log: path.join(layout.folder, 'logs', `${name}.log`),
    argv: ['nsenter', `--net=/run/netns/${layout.controlNetns}`, '--', ...argv],
  })
  const kubernetes = (
    name: 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler',
    flags: readonly string[],
  ): Daemon => daemon(name, [...tools.component(name), ...flags])
  return {
    etcd: daemon('etcd', [tools.etcd, ...etcdFlags(layout)]),
    apiServer: kubernetes('kube-apiserver', apiServerFlags(layout)),
    controllerManager: kubernetes('kube-controller-manager', controllerManagerFlags(layout)),
    scheduler: kubernetes('kube-scheduler', [
      ...clientFlags(layout, 'kube-scheduler'),
      '--leader-elect=false',
      '--bind-address=127.0.0.1',
    ]),
  }
}

/** Starts etcd and the API server and waits until the latter is ready. */
export async function startApiServer(layout: Layout, tools: Tools): Promise<void> {
  mkdirSync(path.join(layout.folder, 'etcd'), { recursive: true, mode: 0o700 })
  const plane = controlPlaneOf(layout, tools)
  await startDaemon(plane.etcd)
  await startDaemon(plane.apiServer)
  await apiServerReady(layout, tools)
}

export async function apiServerReady(layout: Layout, tools: Tools): Promise<void> {
  await daemonReady(controlPlaneOf(layout, tools).apiServer, async (signal) => {
    return (await kubectl(layout, tools, ['get', '--raw', '/readyz'], { signal })) === 'ok'
  })
}

function etcdFlags(layout: Layout): string[] {
  return [
    '--name=etcd',
    `--data-dir=${path.join(layout.folder, 'etcd')}`,
    '--listen-client-urls=http://127.0.0.1:2379',
    '--advertise-client-urls=http://127.0.0.1:2379',
    '--listen-peer-urls=http://127.0.0.1:2380',
    '--initial-advertise-peer-urls=http://127.0.0.1:2380',
    '--initial-cluster=etcd=http://127.0.0.1:2380',
    // Test data may be lost with the machine.
    '--unsafe-no-fsync',
  ]
}

function apiServerFlags(layout: Layout): string[] {
  const file = (name: string): string => pkiFile(layout, name)
  return [
    `--advertise-address=${layout.controlAddress}`,
    '--secure-port=6443',
    '--etcd-servers=http://127.0.0.1:2379',
    '--allow-privileged=true',
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    `--client-ca-file=${file('ca.crt')}`,
    `--tls-cert-file=${file('kube-apiserver.crt')}`,
    `--tls-private-key-file=${file('kube-apiserver.key')}`,
    `--kubelet-certificate-authority=${file('ca.crt')}`,
    `--kubelet-client-certificate=${file('kubelet-client.crt')}`,
    `--kubelet-client-key=${file('kubelet-client.key')}`,
    '--kubelet-preferred-address-types=InternalIP',
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${file('service-accounts.pub')}`,
    `--service-account-signing-key-file=${file('service-accounts.key')}`,
    `--service-cluster-ip-range=${serviceCidr}`,
    `--requestheader-client-ca-file=${file('front-proxy-ca.crt')}`,
    '--requestheader-allowed-names=front-proxy-client',
    '--requestheader-extra-headers-prefix=X-Remote-Extra-',
    '--requestheader-group-headers=X-Remote-Group',
    '--requestheader-username-headers=X-Remote-User',
    `--proxy-client-cert-file=${file('front-proxy-client.crt')}`,
    `--proxy-client-key-file=${file('front-proxy-client.key')}`,
    // There is no kube-proxy beside it: webhooks and aggregated servers are called at their endpoints.
    '--enable-aggregator-routing=true',
  ]
}

function controllerManagerFlags(layout: Layout): string[] {
  return [
    ...clientFlags(layout, 'kube-controller-manager'),
    '--leader-elect=false',
    '--bind-address=127.0.0.1',
    '--use-service-account-credentials=true',
    `--root-ca-file=${pkiFile(layout, 'ca.crt')}`,
    `--service-account-private-key-file=${pkiFile(layout, 'service-accounts.key')}`,
    `--cluster-signing-cert-file=${pkiFile(layout, 'ca.crt')}`,
    `--cluster-signing-key-file=${pkiFile(layout, 'ca.key')}`,
    '--allocate-node-cidrs=true',
    `--cluster-cidr=${layout.clusterCidr}`,
    `--service-cluster-ip-range=${serviceCidr}`,
    '--node-cidr-mask-size=24',
  ]
}

function clientFlags(layout: Layout, name: string): string[] {
  const file = pkiFile(layout, `${name}.kubeconfig`)
  return [`--kubeconfig=${file}`, `--authentication-kubeconfig=${file}`, `--authorization-kubeconfig=${file}`]
}

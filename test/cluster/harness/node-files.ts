import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { dnsAddress, type Layout, type NodeLayout } from './layout.ts'
import { pkiFile } from './pki.ts'
import type { Tools } from './tools.ts'

/** Image of every pod's sandbox. */
export const pauseImage = 'localhost/nsm-cluster/pause:1'

/** A node's file or folder on this machine, by its place below the node's own folder. */
export function nodeFile(node: NodeLayout, ...names: readonly string[]): string {
  return path.join(node.folder, ...names)
}

/** Writes what the node's daemons are configured with. */
export function writeNodeFiles(layout: Layout, node: NodeLayout, tools: Tools): void {
  for (const folder of [
    'var-lib/kubelet',
    'var-lib/containerd',
    'var-log',
    'opt',
    'etc-work',
    'etc/cni/net.d',
    'config',
  ]) {
    mkdirSync(nodeFile(node, folder), { recursive: true })
  }
  const write = (name: string, text: string): void => writeFileSync(nodeFile(node, name), text)
  // Names outside the cluster cannot be asked for here.
  write('etc/resolv.conf', '# The cluster has its own DNS only.\n')
  write('etc/hostname', `${node.name}\n`)
  write('etc/hosts', `127.0.0.1 localhost\n::1 localhost\n${node.address} ${node.name}\n`)
  write('etc/cni/net.d/10-pods.conflist', JSON.stringify(cni(node)))
  write('config/containerd.toml', containerd(tools))
  write('config/kubelet.json', JSON.stringify(kubelet(layout, node)))
  write('config/kube-proxy.json', JSON.stringify(kubeProxy(layout, node)))
}

/** Pods are routed one by one, not bridged: a Service's answer from the same node must pass where its question passed. */
function cni(node: NodeLayout): unknown {
  return {
    cniVersion: '1.0.0',
    name: 'pods',
    plugins: [
      {
        type: 'ptp',
        ipam: {
          type: 'host-local',
          ranges: [[{ subnet: node.podCidr, gateway: node.podGateway }]],
          routes: [{ dst: '0.0.0.0/0' }],
          // Gone with the node's power, as the pods are.
          dataDir: '/run/cni-addresses',
        },
      },
    ],
  }
}

function containerd(tools: Tools): string {
  return `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "${pauseImage}"
# This machine's root may lack CAP_SYS_RESOURCE.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "${tools.cni}"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "${tools.runc}"
SystemdCgroup = false
`
}

function kubelet(layout: Layout, node: NodeLayout): unknown {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: {
      anonymous: { enabled: false },
      webhook: { enabled: true },
      x509: { clientCAFile: pkiFile(layout, 'ca.crt') },
    },
    authorization: { mode: 'Webhook' },
    tlsCertFile: pkiFile(layout, `${node.name}.crt`),
    tlsPrivateKeyFile: pkiFile(layout, `${node.name}.key`),
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    cgroupDriver: 'cgroupfs',
    cgroupRoot: `/${node.cgroup}`,
    enforceNodeAllocatable: [],
    failCgroupV1: false,
    failSwapOn: false,
    clusterDNS: [dnsAddress],
    clusterDomain: 'cluster.local',
    resolvConf: '/etc/resolv.conf',
    volumePluginDir: '/var/lib/kubelet/volume-plugins',
    // The machine's disk is not the node's to judge.
    evictionHard: {
      'memory.available': '0%',
      'nodefs.available': '0%',
      'imagefs.available': '0%',
      'nodefs.inodesFree': '0%',
    },
    imageGCHighThresholdPercent: 100,
    imageGCLowThresholdPercent: 99,
  }
}

function kubeProxy(layout: Layout, node: NodeLayout): unknown {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'nftables',
    clusterCIDR: layout.clusterCidr,
    hostnameOverride: node.name,
    clientConnection: { kubeconfig: pkiFile(layout, 'kube-proxy.kubeconfig') },
    // Limits of the whole machine, which a node's network namespace may not set.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    metricsBindAddress: '127.0.0.1:10249',
  }
}

import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { debianTree } from './debian.ts'
import { builtModule, kubernetesVersion, type GoModule } from './go-build.ts'
import type { Progress } from './progress.ts'

/** The checkout. Compiled, this file lies in test/dist/cluster/harness. */
export const checkout: string = fileURLToPath(new URL('../../../../', import.meta.url))

const kubernetes: GoModule = {
  folder: path.join(checkout, 'test/cluster/kubernetes'),
  packages: ['.', './coredns', './pause', 'helm.sh/helm/v3/cmd/helm'],
  patience: 'building Kubernetes, CoreDNS and Helm: about 10 minutes, once',
}

type Component =
  'kube-apiserver' | 'kube-controller-manager' | 'kube-proxy' | 'kube-scheduler' | 'kubectl' | 'kubelet'

/** The programs that a cluster is made of. */
export interface Tools {
  /** How to start a component of Kubernetes: program and first arguments. */
  component(name: Component): readonly string[]
  readonly etcd: string
  readonly helm: string
  readonly coredns: string
  readonly pause: string
  readonly busybox: string
  /** Folder of the CNI plugins. */
  readonly cni: string
  readonly runc: string
  readonly ctr: string
  /** Search path for programs that start others of these. */
  readonly path: string
}

/** The Kubernetes minors that this repository can build, the first being the one that runs pods. */
export const minors: readonly Minor[] = ['1.37', '1.34']
export type Minor = '1.37' | '1.34'

/**
 * Finds, builds or unpacks the programs. KUBEBUILDER_ASSETS may name a folder that has some of them.
 * `apiServerAlone`: those of nodes are not needed, and not built for it.
 */
export async function openTools(
  progress: Progress,
  minor: Minor = '1.37',
  apiServerAlone = false,
): Promise<Tools> {
  const tree = await debianTree(progress)
  const given = (name: string): string | undefined => {
    const assets = process.env['KUBEBUILDER_ASSETS'] ?? ''
    const file = path.join(assets, name)
    return assets !== '' && existsSync(file) ? file : undefined
  }
  const isEnough = apiServerAlone && given('kubectl') !== undefined && given('kube-apiserver') !== undefined
  const built = isEnough ? '' : await builtModule(kubernetes, progress)
  const all = path.join(built, 'kubernetes-for-tests')
  const own: Partial<Record<Component, readonly string[]>> =
    minor === '1.37' ? {} : { 'kube-apiserver': [await otherApiServer(minor, progress)] }
  return {
    component(name) {
      const file = given(name)
      return own[name] ?? (file === undefined ? [all, name] : [file])
    },
    etcd: given('etcd') ?? path.join(tree, 'usr/bin/etcd'),
    helm: path.join(built, 'helm'),
    coredns: path.join(built, 'coredns'),
    pause: path.join(built, 'pause'),
    busybox: path.join(tree, 'bin/busybox'),
    cni: path.join(tree, 'usr/lib/cni'),
    runc: path.join(tree, 'usr/sbin/runc'),
    ctr: path.join(tree, 'usr/bin/ctr'),
    path: ['usr/bin', 'usr/sbin', 'bin'].map((folder) => path.join(tree, folder)).join(':'),
  }
}

async function otherApiServer(minor: Minor, progress: Progress): Promise<string> {
  const folder = path.join(checkout, `test/cluster/kubernetes-${minor}`)
  const patience = `building the API server of Kubernetes ${await kubernetesVersion(folder)}: some minutes, once`
  return path.join(
    await builtModule({ folder, packages: ['.'], patience }, progress),
    'kube-apiserver-for-tests',
  )
}

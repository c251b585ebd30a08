/**
 * What our images hold, as `scripts/images` builds them here and the Dockerfile builds them elsewhere: node with the libraries it loads and the
 * files of one part, all below one folder, and nothing else: no shell, no package manager, no certificate authorities.
 */

/** Everything of ours in an image lies here. */
export const folder = '/nsm'

/** Who runs in an image unless the pod says otherwise. */
export const user = { uid: 65_532, gid: 65_532, name: 'nonroot' }

/** Environment of every process. The first two: Node 20 would parse 140 public roots at start that no part trusts. The last: one malloc heap, not one for each thread. */
export const env = ['SSL_CERT_FILE=/dev/null', 'SSL_CERT_DIR=/nonexistent', 'MALLOC_ARENA_MAX=1']

const native = 'nsm-native.node'

/** Part → files beside its bundle, by their names in `build/`. */
const beside = {
  registry: [native],
  nsmgr: [native],
  forwarder: [native],
  webhook: [],
  sidecar: [native, 'openapi.yaml'],
  agent: [native],
  prefixes: [],
  'icmp-responder': [native],
  nsm: [native],
}

/** Every part there is an image of. */
export const parts = Object.keys(beside)

/** Name of the bundle of a part, in `build/` and in its image. */
export function bundleOf(part) {
  return `${part}.cjs`
}

/** Files of a part by their names in `build/`. */
export function filesOf(part) {
  return [bundleOf(part), ...beside[part]]
}

/** What an image of the part starts; arguments of the container follow. */
export function entrypointOf(part) {
  return [`${folder}/node`, '--use-openssl-ca', `${folder}/start.cjs`, `${folder}/${bundleOf(part)}`]
}

/** The small files that a C library and its users expect. */
export const systemFiles = {
  '/etc/passwd': `root:x:0:0:root:/:/sbin/nologin\n${user.name}:x:${user.uid}:${user.gid}:${user.name}:/:/sbin/nologin\n`,
  '/etc/group': `root:x:0:\n${user.name}:x:${user.gid}:\n`,
  '/etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
}

import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { entrypointOf, env, user } from './layout.mjs'
import { tarOf } from './tar.mjs'

const architectures = { x64: 'amd64', arm64: 'arm64' }
const types = {
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
  config: 'application/vnd.oci.image.config.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
}

/** A layer of these entries: its packed bytes, their digest, and that of the archive inside. */
export function layerOf(entries) {
  const archive = tarOf(entries)
  const data = gzipSync(archive)
  return { data, digest: digestOf(data), diffId: digestOf(archive) }
}

/** The archive of one image, as containerd imports it and Docker loads it, with the digest of its manifest. `name`: with its tag. */
export function imageOf(part, name, layers) {
  const platform = { architecture: architectures[process.arch] ?? process.arch, os: 'linux' }
  const config = json({
    ...platform,
    created: '1970-01-01T00:00:00Z',
    config: {
      User: `${user.uid}:${user.gid}`,
      Env: env,
      Entrypoint: entrypointOf(part),
      WorkingDir: '/',
    },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  })
  const manifest = json({
    schemaVersion: 2,
    mediaType: types.manifest,
    config: descriptor(types.config, config),
    layers: layers.map(({ data, digest }) => ({ mediaType: types.layer, digest, size: data.length })),
  })
  const annotations = {
    'io.containerd.image.name': name,
    'org.opencontainers.image.ref.name': name.split(':')[1],
  }
  const index = json({
    schemaVersion: 2,
    mediaType: types.index,
    manifests: [{ ...descriptor(types.manifest, manifest), annotations, platform }],
  })
  const blobs = [config, manifest, ...layers.map(({ data }) => data)]
  const docker = json([
    { Config: blobPath(config), RepoTags: [name], Layers: layers.map(({ digest }) => pathOf(digest)) },
  ])
  const files = {
    'oci-layout': json({ imageLayoutVersion: '1.0.0' }),
    'index.json': index,
    'manifest.json': docker,
  }
  const entries = [
    ...Object.entries(files).map(([path, data]) => ({ path: `/${path}`, mode: 0o644, data })),
    ...blobs.map((data) => ({ path: `/${blobPath(data)}`, mode: 0o644, data })),
  ]
  return { digest: digestOf(manifest), data: tarOf(entries) }
}

function descriptor(mediaType, data) {
  return { mediaType, digest: digestOf(data), size: data.length }
}

function blobPath(data) {
  return pathOf(digestOf(data))
}

function pathOf(digest) {
  return `blobs/${digest.replace(':', '/')}`
}

function digestOf(data) {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`
}

function json(value) {
  return Buffer.from(JSON.stringify(value))
}

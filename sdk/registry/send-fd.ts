import type { NetworkServiceEndpoint } from '@nsm/api/gen/registry.js'
import { formatInodeUrl, isOwnDescriptorPath, type DescriptorFunctions } from '../descriptors.ts'
import { NsmError } from '../errors.ts'
import type { DescriptorChannel, Peer } from '../peer.ts'
import type { NetworkServiceEndpointElement } from '../registry-chain.ts'

const scheme = 'unix://'

export interface SendFdServerOptions {
  readonly native: DescriptorFunctions
  /** The socket files that are open already, by URL: `recvFdServer`'s. */
  readonly fdOf: (url: string) => number | undefined
}

/**
 * Passes the sockets that Find answers name to callers whose own socket carries descriptors: `unix://<path>` becomes
 * `inode://…`, and an O_PATH descriptor of the socket file leaves before the answer (§6.4). Sockets that are gone are not told.
 */
export function sendFdServer(options: SendFdServerOptions): NetworkServiceEndpointElement {
  const { native, fdOf } = options

  return {
    name: 'sendfd server',

    async *find(ctx, query, next) {
      const channel = ctx.peer?.descriptors
      for await (const response of next.find(ctx, query)) {
        const endpoint = response.networkServiceEndpoint
        if (channel === undefined || endpoint === undefined || response.deleted || !isSocket(endpoint)) {
          yield response
          continue
        }
        try {
          const url = sendSocket(native, channel, { path: pathOf(endpoint), fd: fdOf(endpoint.url) })
          yield { ...response, networkServiceEndpoint: { ...endpoint, url } }
        } catch (err) {
          ctx.log.warn(
            { name: endpoint.name, url: endpoint.url, err: String(err) },
            'endpoint has no socket any more',
          )
        }
      }
    },
  }
}

/**
 * Passes the socket file of a registering endpoint: `unix://<path>` becomes `inode://…` and an O_PATH descriptor leaves before the
 * call; in the answer the path is put back (§6.4). `peer`: who is called; without descriptors (TCP) the text goes as it is.
 */
export function sendFdClient(native: DescriptorFunctions, peer: Peer): NetworkServiceEndpointElement {
  const channel = peer.descriptors

  const passed = (endpoint: NetworkServiceEndpoint): NetworkServiceEndpoint => {
    if (channel === undefined || !isSocket(endpoint)) return endpoint
    return { ...endpoint, url: sendSocket(native, channel, { path: pathOf(endpoint), fd: undefined }) }
  }

  return {
    name: 'sendfd client',

    async register(ctx, endpoint, next) {
      const sent = passed(endpoint)
      const answer = await next.register(ctx, sent)
      return answer.url === sent.url ? { ...answer, url: endpoint.url } : answer
    },

    async unregister(ctx, endpoint, next) {
      await next.unregister(ctx, passed(endpoint))
    },
  }
}

function isSocket({ url }: NetworkServiceEndpoint): boolean {
  return url.startsWith(scheme)
}

function pathOf({ url }: NetworkServiceEndpoint): string {
  return url.slice(scheme.length)
}

function sendSocket(
  native: DescriptorFunctions,
  channel: DescriptorChannel,
  socket: { readonly path: string; readonly fd: number | undefined },
): string {
  if (socket.fd !== undefined) return formatInodeUrl(channel.send(socket.fd))
  if (isOwnDescriptorPath(socket.path)) throw new NsmError('NOT_FOUND', `${socket.path} is closed`)
  const fd = native.open(socket.path, 'path')
  try {
    return formatInodeUrl(channel.send(fd))
  } finally {
    native.close(fd)
  }
}

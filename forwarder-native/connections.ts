import type { ConnectionMonitor, NetworkService } from '@nsm/sdk/chain.js'
import type { Native } from '@nsm/native/surface.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import type { LookupRegistries } from '@nsm/sdk/chains/remote-registries.js'
import { serverChain, type ServerChain, type ServerChainOptions } from '@nsm/sdk/chains/server.js'
import { connectTo } from '@nsm/sdk/elements/connect-to.js'
import { discover } from '@nsm/sdk/elements/discover.js'
import { filterMechanisms } from '@nsm/sdk/elements/filter-mechanisms.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import { leaving } from '@nsm/sdk/elements/leaving.js'
import { mechanismPriority } from '@nsm/sdk/elements/mechanism-priority.js'
import { mechanismTranslation } from '@nsm/sdk/elements/mechanism-translation.js'
import { mechanisms } from '@nsm/sdk/elements/mechanisms.js'
import { recvFdClient } from '@nsm/sdk/elements/recv-fd-client.js'
import { recvFdServer } from '@nsm/sdk/elements/recv-fd-server.js'
import { roundRobin } from '@nsm/sdk/elements/round-robin.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { sendFdServer } from '@nsm/sdk/elements/send-fd-server.js'
import type { Peer } from '@nsm/sdk/peer.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import { kernelWiring } from './wiring/kernel.ts'

export interface ConnectionsOptions extends Pick<ServerChainOptions, 'tokens' | 'observe'> {
  readonly name: string
  readonly native: Native
  readonly dial: Dial
  /** Where endpoints are looked up; closed with the chain. */
  readonly registries: LookupRegistries
  readonly mechanismPriority: readonly string[]
  /** Who may name other network namespaces than its own: the node's manager, which passes those of its clients on. */
  readonly isManager: (caller: Peer) => boolean
}

export interface Connections {
  readonly services: { readonly networkService: NetworkService; readonly monitor: ConnectionMonitor }
  /** Connections by state. */
  readonly counts: ServerChain['counts']
  /** Aliases of the links of all connections. */
  owned(): ReadonlySet<string>
  /** Closes all connections and takes no more; answers how many. */
  leave(): Promise<number>
  close(): void
}

/** The forwarder's chain (wire contract §6.1): finds the endpoint, asks it, and wires the two pods. */
export function connections(options: ConnectionsOptions): Connections {
  const { name, native, dial, registries, tokens, observe } = options
  const wiring = kernelWiring({ native, forwarderName: name })
  const client = clientChain({
    name,
    dial,
    elements: [
      mechanismTranslation(),
      wiring.client,
      kernelClient(),
      filterMechanisms(),
      mechanismPriority(options.mechanismPriority),
      recvFdClient(native),
      sendFdClient(native),
    ],
  })
  const departure = leaving()
  const server = serverChain({
    name,
    tokens,
    ...(observe === undefined ? {} : { observe }),
    elements: [
      departure.element,
      recvFdServer({
        native,
        ownNetnsOnly: (caller) => !options.isManager(caller),
        neverOwnNetns: options.isManager,
      }),
      sendFdServer(native),
      discover(registries),
      roundRobin(),
      mechanisms({ KERNEL: wiring.server }),
      connectTo(client),
    ],
  })
  return {
    services: { networkService: server.service, monitor: server.monitor },
    counts: server.counts,
    owned: () => wiring.owned(),
    leave: () => departure.leave(),
    close() {
      client.stop()
      server.close()
      registries.close()
    },
  }
}

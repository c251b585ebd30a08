import { chain, type Element, type NetworkService } from '../chain.ts'
import { authorizeClient } from '../elements/authorize.ts'
import { begin, type BeginOptions } from '../elements/begin.ts'
import { toUrl } from '../elements/client-url.ts'
import { closeUnanswered } from '../elements/close-unanswered.ts'
import { connect } from '../elements/connect.ts'
import { dial } from '../elements/dial.ts'
import { heal, type HealOptions } from '../elements/heal.ts'
import { metadata } from '../elements/metadata.ts'
import { monitorClient } from '../elements/monitor-client.ts'
import { refresh } from '../elements/refresh.ts'
import { updatePath } from '../elements/update-path.ts'
import type { Dial } from '../transport/remote.ts'

export interface ClientChainOptions {
  /** Path segment name of this process; the same for both halves. */
  readonly name: string
  readonly dial: Dial
  /** Where all calls go; without it an element before must leave `clientUrl`. */
  readonly url?: string
  /** What this process does on the way out, from the outside in. */
  readonly elements?: readonly Element[]
  /** End clients only: keeps connections alive. */
  readonly refresh?: boolean
  /** End clients only: brings lost connections back. */
  readonly heal?: HealOptions
  /** End clients only: checks the answers' paths. */
  readonly authorize?: boolean
  readonly limits?: BeginOptions
}

export interface ClientChain extends NetworkService {
  /** Stops refreshing, healing and watching; connections stay as they are. */
  stop(): void
}

/** The chain that every NetworkService client has (§3.2). As the end of a server it goes into `connectTo`. */
export function clientChain(options: ClientChainOptions): ClientChain {
  const refreshing = options.refresh === true ? refresh() : undefined
  const healing = options.heal === undefined ? undefined : heal(options.heal)
  const watching = monitorClient(options.name)
  const stoppable = [refreshing, healing, watching].filter((element) => element !== undefined)
  const service = chain([
    updatePath(options.name),
    begin('client', options.limits),
    metadata('client'),
    ...(refreshing === undefined ? [] : [refreshing]),
    ...(options.url === undefined ? [] : [toUrl(options.url)]),
    dial(options.dial),
    ...(healing === undefined ? [] : [healing]),
    watching,
    ...(options.elements ?? []),
    ...(options.authorize === true ? [authorizeClient()] : []),
    closeUnanswered(options.dial),
    connect(),
  ])
  return {
    ...service,
    stop() {
      for (const element of stoppable) element.stop()
    },
  }
}

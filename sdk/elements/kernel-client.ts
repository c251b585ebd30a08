import type { Connection, Mechanism } from '@nsm/api/gen/connection.js'
import { mechanismClasses, mechanismParameters } from '@nsm/api/constants.js'
import { connectionOf, type Element } from '../chain.ts'
import { newInterfaceName } from '../interface-name.ts'
import { withInterface } from './interface-metric.ts'

export interface KernelClientOptions {
  /** The client's network namespace, for a client that is the end of the path. A forwarder has none: its next hop answers with its own. */
  readonly netnsUrl?: string
}

/**
 * Offers the mechanism KERNEL (wire contract §2.2). With `netnsUrl` the preferences, and on a refresh the mechanism,
 * get it and a name, which is made up from the connection's id when none is given.
 */
export function kernelClient(options: KernelClientOptions = {}): Element {
  const { netnsUrl } = options

  function completed(mechanism: Mechanism, conn: Connection): Mechanism {
    if (netnsUrl === undefined || mechanism.type !== 'KERNEL') return mechanism
    const name =
      mechanism.parameters[mechanismParameters.name] || newInterfaceName(conn.networkService, conn.id)
    const parameters = {
      ...mechanism.parameters,
      [mechanismParameters.name]: name,
      [mechanismParameters.inodeUrl]: netnsUrl,
    }
    return { ...mechanism, parameters }
  }

  return {
    name: 'kernel client',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      const offered = req.mechanismPreferences.some(({ type }) => type === 'KERNEL')
      const kernel = { cls: mechanismClasses.LOCAL, type: 'KERNEL', parameters: {} }
      const all = offered ? req.mechanismPreferences : [...req.mechanismPreferences, kernel]
      const mechanismPreferences = all.map((mechanism) => completed(mechanism, conn))
      const mechanism = conn.mechanism && completed(conn.mechanism, conn)
      const asked = { ...req, mechanismPreferences, connection: { ...conn, mechanism } }
      return withInterface(await next.request(ctx, asked), 'client', conn.path?.index ?? 0)
    },
  }
}

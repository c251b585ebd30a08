import type { Connection } from '@nsm/api/gen/connection.js'
import { mechanismParameters, ownNetnsUrl } from '@nsm/api/constants.js'
import { interfaceNameFault } from '@nsm/api/interface-name.js'
import { connectionOf, type Element } from '../chain.ts'
import { NsmError } from '../errors.ts'
import { newInterfaceName } from '../interface-name.ts'

export interface KernelServerOptions {
  /** Default: that of this process. */
  readonly netnsUrl?: string
}

/**
 * The endpoint's side of the mechanism KERNEL (wire contract §2.2): answers with the endpoint's own network namespace,
 * and with a name for its interface when none came. A made-up name is not that of another connection.
 */
export function kernelServer(options: KernelServerOptions = {}): Element {
  const { netnsUrl = ownNetnsUrl } = options
  const names = new Map<string, string>()

  function newName({ id, networkService }: Connection): string {
    const taken = new Set(names.values())
    for (let attempt = 0; ; attempt++) {
      const name = newInterfaceName(networkService, `${id} ${attempt}`)
      if (!taken.has(name)) return name
    }
  }

  return {
    name: 'kernel server',

    async request(ctx, req, next) {
      const conn = connectionOf(req)
      if (conn.mechanism?.type !== 'KERNEL') return next.request(ctx, req)
      const known = names.get(conn.id)
      const given = conn.mechanism.parameters[mechanismParameters.name]
      const name = given ? checked(given) : (known ?? newName(conn))
      const parameters = {
        ...conn.mechanism.parameters,
        [mechanismParameters.name]: name,
        [mechanismParameters.inodeUrl]: netnsUrl,
      }
      names.set(conn.id, name)
      try {
        const mechanism = { ...conn.mechanism, parameters }
        return await next.request(ctx, { ...req, connection: { ...conn, mechanism } })
      } catch (err) {
        if (known === undefined) names.delete(conn.id)
        else names.set(conn.id, known)
        throw err
      }
    },

    async close(ctx, conn, next) {
      try {
        await next.close(ctx, conn)
      } finally {
        names.delete(conn.id)
      }
    },
  }
}

function checked(name: string): string {
  const fault = interfaceNameFault(name)
  if (fault === undefined) return name
  throw new NsmError(
    'INVALID_ARGUMENT',
    `mechanism parameter name must be ${fault}, not ${JSON.stringify(name.slice(0, 40))}`,
  )
}

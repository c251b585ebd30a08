import type { Connection } from '@nsm/api/gen/connection.js'
import { ConnectionContext, IPContext } from '@nsm/api/gen/connectioncontext.js'

/** The IP context of a connection; an empty one when there is none. */
export function ipContextOf(conn: Connection): IPContext {
  return conn.context?.ipContext ?? IPContext.fromPartial({})
}

/** The connection with these parts of its context replaced; everything else stays, fields that we do not know included. */
export function withContext(conn: Connection, parts: Partial<ConnectionContext>): Connection {
  return { ...conn, context: { ...(conn.context ?? ConnectionContext.fromPartial({})), ...parts } }
}

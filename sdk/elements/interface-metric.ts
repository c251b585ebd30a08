import type { Connection } from '@nsm/api/gen/connection.js'
import { mechanismParameters } from '@nsm/api/constants.js'

/** Keys in a path segment's metrics: that hop's interface towards the client, and towards the endpoint (wire contract §2.1). */
const metrics = { server: 'server_interface', client: 'client_interface' } as const

/** The answer with the interface of its mechanism, `<TYPE>/<name>`, in the metrics of the segment at `index`: for people who look at a path. */
export function withInterface(conn: Connection, half: keyof typeof metrics, index: number): Connection {
  const { path, mechanism } = conn
  const own = path?.pathSegments[index]
  if (path === undefined || own === undefined || mechanism === undefined) return conn
  const said = `${mechanism.type}/${mechanism.parameters[mechanismParameters.name] ?? ''}`
  if (own.metrics[metrics[half]] === said) return conn
  const segment = { ...own, metrics: { ...own.metrics, [metrics[half]]: said } }
  return { ...conn, path: { ...path, pathSegments: path.pathSegments.with(index, segment) } }
}

import { both, fault, integer, listOf, object, oneOf, text, unsupported, type Rule } from './shape.ts'

const port: Rule = (value, path) =>
  typeof value === 'string'
    ? text(/^[a-z0-9-]{1,15}$/, 'a port')(value, path)
    : integer(1, 65_535)(value, path)

const oneAction: Rule = (value, path) => {
  const { httpGet, exec } = value as { httpGet?: unknown; exec?: unknown }
  const given = [httpGet, exec].filter((action) => action !== undefined && action !== null).length
  return given === 1 ? [] : fault(path, 'must have exactly one of httpGet and exec')
}

/** A startup, readiness or liveness probe by HTTP or by a command. */
export const probe: Rule = both(
  object({
    httpGet: object(
      {
        path: text(/^\/[\x21-\x7e]*$/, 'a path that begins with /'),
        port,
        host: text(/^[0-9a-fA-F.:]+$/, 'an IP address'),
        scheme: oneOf('HTTP'),
        httpHeaders: unsupported(),
      },
      ['port'],
    ),
    exec: object({ command: listOf(text(), 1) }, ['command']),
    tcpSocket: unsupported('use httpGet or exec'),
    grpc: unsupported('use httpGet or exec'),
    initialDelaySeconds: integer(0, 86_400),
    periodSeconds: integer(1, 86_400),
    timeoutSeconds: integer(1, 86_400),
    successThreshold: integer(1, 1_000),
    failureThreshold: integer(1, 100_000),
    terminationGracePeriodSeconds: unsupported(),
  }),
  oneAction,
)

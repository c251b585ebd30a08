import { isObject } from '../manifest/shape.ts'
import type { PodConnections } from '../mesh/connections.ts'
import { connectionsIn } from './connections.ts'
import { table } from './table.ts'

type Fields = Readonly<Record<string, unknown>>

/** Which names each connection of the pods brings, from which servers, and what was last wrong with those. */
export function namesText(pods: readonly PodConnections[]): string {
  return pods
    .map(({ status }) => {
      const rows = connectionsIn(status).flatMap((connection) => rowsOf(connection))
      const dns = isObject(status) && isObject(status['dns']) ? status['dns'] : {}
      if (rows.length === 0) return ''
      const how = `\nNames (${word(dns['mode'])}: ${word(dns['message'])}):\n`
      return how + table(['  CONNECTION', 'DNS SERVER', 'DOMAINS', 'LAST ERROR'], rows)
    })
    .join('')
}

function rowsOf(connection: Fields): readonly (readonly string[])[] {
  return list(connection['dns'])
    .filter(isObject)
    .flatMap((config) => {
      const errors = isObject(config['lastErrors']) ? config['lastErrors'] : {}
      const domains = list(config['searchDomains']).map(word).join(',') || '-'
      return list(config['servers']).map((server) => [
        `  ${word(connection['id'])}`,
        word(server),
        domains,
        word(errors[word(server)]),
      ])
    })
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function word(value: unknown): string {
  return typeof value === 'string' && value !== '' ? value : '-'
}

import type { NsUrl } from './nsurl.ts'

/**
 * Which of its connections a pod's start waits for: `true` = all, `false` = none, else a comma-separated list of names,
 * of network services or of interfaces.
 */
export type RequiredServices = string

/** As long as the URLs may be that it chooses from. */
const maxLength = 4096
/** More names are no help. */
const maxNamed = 8

/** Why the text does not choose among the URLs ("must …"); undefined = it does. */
export function requiredServicesFault(text: RequiredServices, urls: readonly NsUrl[]): string | undefined {
  if (text === 'true' || text === 'false') return undefined
  if (text.length > maxLength) return `must have at most ${maxLength} characters, not ${text.length}`
  const known = new Set(urls.flatMap(namesOf))
  const unknown = listed(text).find((name) => !known.has(name))
  if (unknown === undefined) return undefined
  const named = [...known].slice(0, maxNamed).join(', ')
  const more = known.size > maxNamed ? ', …' : ''
  return `must be true, false or a list of names out of ${named}${more}, not ${JSON.stringify(unknown.slice(0, 80))}`
}

/** Whether the connection of one of the URLs is waited for, by a text without fault. */
export function isRequiredService(text: RequiredServices, url: NsUrl): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  const names = listed(text)
  return namesOf(url).some((name) => names.includes(name))
}

function listed(text: RequiredServices): readonly string[] {
  return text.split(',').map((name) => name.trim())
}

function namesOf({ networkService, interfaceName }: NsUrl): readonly string[] {
  return interfaceName === undefined ? [networkService] : [networkService, interfaceName]
}

/** Longest name of a Linux interface in bytes: IFNAMSIZ without its NUL. */
export const maxInterfaceNameBytes = 15

const shape = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/

/** Names of a pod's own interfaces, and names that mean something else below /proc/sys/net/ipv4/conf. */
const taken: ReadonlySet<string> = new Set(['lo', 'eth0', 'all', 'default'])

/** What keeps `name` from being the name of an interface that the mesh makes in a pod; undefined = nothing does. */
export function interfaceNameFault(name: string): string | undefined {
  if (name.length > maxInterfaceNameBytes)
    return `an interface name of at most ${maxInterfaceNameBytes} bytes`
  if (!shape.test(name))
    return 'an interface name that starts with a letter or digit and goes on with these, "-", "_" or "."'
  if (taken.has(name)) return `an interface name other than ${[...taken].join(', ')}`
  return undefined
}

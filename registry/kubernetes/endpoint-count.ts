/** How many endpoints each service has. */
export interface EndpointCount {
  of(service: string): number
  /** An endpoint serves these now, none = it is gone. Answers the services whose counts have changed. */
  set(endpoint: string, services: readonly string[]): string[]
}

export function endpointCount(): EndpointCount {
  const servicesOf = new Map<string, ReadonlySet<string>>()
  const counts = new Map<string, number>()

  function add(service: string, change: 1 | -1): void {
    const now = (counts.get(service) ?? 0) + change
    if (now === 0) counts.delete(service)
    else counts.set(service, now)
  }

  return {
    of: (service) => counts.get(service) ?? 0,
    set(endpoint, services) {
      const before = servicesOf.get(endpoint) ?? new Set<string>()
      const now = new Set(services)
      const left = [...before].filter((service) => !now.has(service))
      const joined = [...now].filter((service) => !before.has(service))
      for (const service of left) add(service, -1)
      for (const service of joined) add(service, 1)
      if (now.size === 0) servicesOf.delete(endpoint)
      else servicesOf.set(endpoint, now)
      return [...left, ...joined]
    },
  }
}

/** A decoded message without its empty records of unknown fields. */
export function withoutUnknown(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUnknown)
  if (typeof value !== 'object' || value === null || value instanceof Date) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name, member]) => name !== '_unknownFields' || Object.keys(member as object).length > 0)
      .map(([name, member]) => [name, withoutUnknown(member)]),
  )
}

import { at, listAt, textAt, textsAt } from './fields.ts'

/** Whether labels fit a label selector of the API; none at all fits everything. */
export function selects(selector: unknown, labels: Readonly<Record<string, string>>): boolean {
  const wanted = Object.entries(textsAt(selector, 'matchLabels'))
  return (
    wanted.every(([key, value]) => labels[key] === value) &&
    listAt(selector, 'matchExpressions').every((one) => fits(one, labels))
  )
}

function fits(expression: unknown, labels: Readonly<Record<string, string>>): boolean {
  const value = labels[textAt(expression, 'key')]
  const isOneOf = value !== undefined && listAt(expression, 'values').includes(value)
  switch (at(expression, 'operator')) {
    case 'In':
      return isOneOf
    case 'NotIn':
      return !isOneOf
    case 'Exists':
      return value !== undefined
    default:
      return value === undefined
  }
}

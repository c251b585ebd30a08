import { NsmError } from '../errors.ts'

/** Milliseconds of each unit letter (gRPC over HTTP/2, "Timeout"). */
const units = new Map([
  ['H', 3_600_000],
  ['M', 60_000],
  ['S', 1000],
  ['m', 1],
  ['u', 0.001],
  ['n', 0.000_001],
])
const maxDigits = 8

/** A `grpc-timeout` header in ms; absent = undefined. @throws NsmError INVALID_ARGUMENT. */
export function parseTimeout(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const digits = header.slice(0, -1)
  const unit = units.get(header.slice(-1))
  if (unit === undefined || !/^\d{1,8}$/.test(digits)) {
    throw new NsmError('INVALID_ARGUMENT', `grpc-timeout is ${header}, not up to 8 digits and one of HMSmun`)
  }
  return Number(digits) * unit
}

/** The header for `ms`, rounded up, in the finest unit that it fits in. */
export function formatTimeout(ms: number): string {
  for (const letter of ['u', 'm', 'S', 'M'] as const) {
    const digits = String(Math.max(1, Math.ceil(ms / (units.get(letter) ?? 1))))
    if (digits.length <= maxDigits) return `${digits}${letter}`
  }
  return '99999999H'
}

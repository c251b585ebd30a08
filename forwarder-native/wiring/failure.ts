import type { NativeError } from '@nsm/native/surface.js'
import { NsmError, type Code } from '@nsm/sdk/errors.js'

/** What the kernel's refusals mean for who asked: what it wanted cannot be, or the pod is gone. */
const codes: Readonly<Record<string, Code>> = {
  EEXIST: 'FAILED_PRECONDITION',
  ENODEV: 'UNAVAILABLE',
  ENOENT: 'UNAVAILABLE',
  ESRCH: 'UNAVAILABLE',
  EINVAL: 'INVALID_ARGUMENT',
  ERANGE: 'INVALID_ARGUMENT',
  ENETUNREACH: 'FAILED_PRECONDITION',
  EHOSTUNREACH: 'FAILED_PRECONDITION',
  EPERM: 'PERMISSION_DENIED',
  EACCES: 'PERMISSION_DENIED',
  EAGAIN: 'RESOURCE_EXHAUSTED',
  EMFILE: 'RESOURCE_EXHAUSTED',
  ENFILE: 'RESOURCE_EXHAUSTED',
  ENOBUFS: 'RESOURCE_EXHAUSTED',
  ENOMEM: 'RESOURCE_EXHAUSTED',
}

function isNativeError(reason: unknown): reason is NativeError {
  return reason instanceof Error && reason.name === 'NativeError'
}

/** The addon's failure as an error of the mesh; `doing` begins its sentence. Others pass. */
export function wiringError(reason: unknown, doing: string): NsmError {
  if (!isNativeError(reason)) return NsmError.from(reason)
  const all = reason.failures?.map(({ error }) => error.message) ?? [reason.message]
  const more = all.length > 4 ? `; and ${all.length - 4} more` : ''
  const message = `${doing}: ${all.slice(0, 4).join('; ')}${more}`
  return new NsmError(codes[reason.code] ?? 'INTERNAL', message, { cause: reason })
}

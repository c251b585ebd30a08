import { NsmError } from '@nsm/sdk/errors.js'

/** For `catch`: what is not there is undefined, and everything else goes on failing. */
export function absent(reason: unknown): undefined {
  const err = NsmError.from(reason)
  if (err.code !== 'NOT_FOUND') throw err
}

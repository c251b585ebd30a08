import { NsmError } from './errors.ts'

/** The caller may not do this: thrown by a process' own server policies, before anything was done for the call. */
export class Refusal extends NsmError {
  constructor(reason: string, options?: { cause?: unknown }) {
    super('PERMISSION_DENIED', `no sufficient privileges: ${reason}`, options)
    this.name = 'Refusal'
  }
}

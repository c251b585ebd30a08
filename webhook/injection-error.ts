/** A pod that cannot be injected: `message` says what to change. */
export class InjectionError extends Error {
  readonly reason: string

  constructor(reason: string, message: string) {
    super(message)
    this.name = 'InjectionError'
    this.reason = reason
  }
}

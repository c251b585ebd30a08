import type { NetworkServiceElement } from '../registry-chain.ts'

/** Payload of a service that names none (§1.7). */
const defaultPayload = 'IP'

/** Gives a network service that is registered without a payload the payload `IP` (§5.6). */
export function setPayload(): NetworkServiceElement {
  return {
    name: 'setpayload',
    register: (ctx, service, next) =>
      next.register(ctx, service.payload === '' ? { ...service, payload: defaultPayload } : service),
  }
}

import type { Element } from '../chain.ts'

/** The mechanism NOOP: agreed on, and nothing to be done for it. */
export const noopMechanism: Element = { name: 'noop' }

import { nearest } from '@nsm/sdk/process/nearest.js'

/** An annotation that means nothing, and the one that was perhaps meant. */
export interface AnnotationHint {
  readonly key: string
  readonly meant: string | undefined
}

/** The longest key that Kubernetes takes: a prefix of 253, a slash and a name of 63. */
const maxKeyLength = 317

/**
 * Compares the first `most` of the keys with the known ones. A pod comes here before anything has checked it: the time that this
 * takes must not grow with what it holds.
 */
export function annotationHints(
  keys: readonly string[],
  known: Iterable<string>,
  most: number,
): readonly AnnotationHint[] {
  return keys
    .filter((key) => key.length <= maxKeyLength)
    .slice(0, most)
    .map((key) => ({ key, meant: nearest(key, known) }))
}

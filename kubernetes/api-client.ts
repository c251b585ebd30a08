import type { Readable } from 'node:stream'

/** An object as the API server has it; fields that nobody here knows are kept. */
export interface KubernetesObject {
  readonly apiVersion?: string
  readonly kind?: string
  readonly metadata: ObjectMeta
  readonly [field: string]: unknown
}

/** The part of an object's metadata that is used here. */
export interface ObjectMeta {
  readonly name?: string
  readonly generateName?: string
  readonly namespace?: string
  readonly uid?: string
  readonly resourceVersion?: string
  readonly generation?: number
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly [field: string]: unknown
}

/** Which objects of a collection. */
export interface Selection {
  readonly labelSelector?: string
  readonly fieldSelector?: string
}

/** Kinds of patches: RFC 7386, RFC 6902, Kubernetes' merge by key (built-in kinds only), server-side apply. */
export type PatchType = 'merge' | 'json' | 'strategic' | 'apply'

/**
 * Calls to the API server. A path is absolute, such as `/api/v1/namespaces/nsm-system/secrets/ca`, and may have a query. Each rejects with
 * NsmError: NOT_FOUND (404), ALREADY_EXISTS or ABORTED (409), PERMISSION_DENIED (401, 403), OUT_OF_RANGE (410),
 * INVALID_ARGUMENT (400, 413, 422), UNIMPLEMENTED (405, 406, 415), RESOURCE_EXHAUSTED (429, too many calls of this process), UNAVAILABLE (5xx, no connection),
 * DEADLINE_EXCEEDED. The message has the server's sentence and reason.
 */
export interface ApiClient {
  /** Namespace of this process in the cluster, or of the kubeconfig's context. */
  readonly namespace: string
  get<T extends KubernetesObject>(path: string, signal?: AbortSignal): Promise<T>
  create<T extends KubernetesObject>(path: string, object: T): Promise<T>
  /** With `metadata.resourceVersion` in the object, ABORTED when somebody was faster. */
  replace<T extends KubernetesObject>(path: string, object: T): Promise<T>
  /** An `apply` patch needs a field manager: the client's own name, unless the path's query says another. */
  patch<T extends KubernetesObject>(path: string, patch: unknown, type: PatchType): Promise<T>
  /** Without preconditions the path's query may hold other options, such as `gracePeriodSeconds` and `propagationPolicy`. */
  delete(
    path: string,
    preconditions?: { readonly uid?: string; readonly resourceVersion?: string },
  ): Promise<void>
  /** An answer without end (a watch, a followed log) as chunks of text, as soon as the server has accepted the call; ends with an error when the signal aborts. */
  stream(path: string, signal?: AbortSignal): Promise<Readable>
  /** Ends calls and streams that run; later ones reject with CANCELLED. */
  close(): void
}

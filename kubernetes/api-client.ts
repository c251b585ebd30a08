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

export type PatchType = 'merge' | 'json' | 'strategic' | 'apply'

/**
 * Calls to the API server. A path is absolute, such as `/api/v1/namespaces/nsm-system/secrets/ca`. Each rejects with
 * NsmError: NOT_FOUND (404), ALREADY_EXISTS or ABORTED (409), PERMISSION_DENIED (401, 403), OUT_OF_RANGE (410),
 * INVALID_ARGUMENT (400, 422), RESOURCE_EXHAUSTED (429), UNAVAILABLE (5xx, no connection), DEADLINE_EXCEEDED.
 */
export interface ApiClient {
  /** Namespace of this process in the cluster, or of the kubeconfig's context. */
  readonly namespace: string
  get<T extends KubernetesObject>(path: string, signal?: AbortSignal): Promise<T>
  create<T extends KubernetesObject>(path: string, object: T): Promise<T>
  /** With `metadata.resourceVersion` in the object, ABORTED when somebody was faster. */
  replace<T extends KubernetesObject>(path: string, object: T): Promise<T>
  patch<T extends KubernetesObject>(path: string, patch: unknown, type: PatchType): Promise<T>
  delete(
    path: string,
    preconditions?: { readonly uid?: string; readonly resourceVersion?: string },
  ): Promise<void>
  close(): void
}

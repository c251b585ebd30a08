import type { ApiClient, KubernetesObject } from './api-client.ts'

/** Of the API server. */
export interface ServerVersion {
  readonly major: number
  readonly minor: number
  /** As `v1.37.2`. */
  readonly text: string
}

/** Asks the server. Some providers write a minor version as `37+`. */
export async function serverVersion(client: ApiClient, signal?: AbortSignal): Promise<ServerVersion> {
  const answer = (await client.get<KubernetesObject>('/version', signal)) as Readonly<Record<string, unknown>>
  const { major, minor, gitVersion } = answer
  return {
    major: Number.parseInt(String(major), 10),
    minor: Number.parseInt(String(minor), 10),
    text: String(gitVersion),
  }
}

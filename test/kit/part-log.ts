import { readFileSync } from 'node:fs'
import type { LocalMesh } from './local-mesh.ts'

/** What a part of a mesh has logged, line by line; `part`: its name, or `<namespace>_<pod>_<container>`. */
export function partLog(mesh: LocalMesh, part: string): readonly Readonly<Record<string, unknown>>[] {
  const text = readFileSync(`/run/nsm/${mesh.name}/logs/${part}.log`, 'utf8')
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Record<string, unknown>]
    } catch {
      return []
    }
  })
}

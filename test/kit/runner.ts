import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The built `nsm-run` program. */
export function runnerProgram(): string {
  const candidates = ['build/nsm-run', 'forwarder-native/native/target/release/nsm-run'].map((path) =>
    fileURLToPath(new URL(`../../../${path}`, import.meta.url)),
  )
  const found = candidates.find((path) => existsSync(path))
  if (found === undefined) throw new Error(`nsm-run is not built: looked at ${candidates.join(', ')}`)
  return found
}

import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { buildGo } from './go-program.ts'

/** A CoreDNS from its Go module, or why there is none. */
export type CoreDns = { readonly binary: string } | { readonly missing: string }

/** Builds it; the program is gone with the test. It lies where pods of the local mesh see it, which have a /tmp of their own. */
export async function buildCoreDns(t: Test): Promise<CoreDns> {
  const program = await buildGo(fileURLToPath(new URL('../../interop/coredns', import.meta.url)))
  if ('missing' in program) return program
  const folder = await mkdtemp('/var/tmp/coredns-')
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const binary = join(folder, 'coredns')
  await copyFile(program.binary, binary)
  await program.remove()
  return { binary }
}

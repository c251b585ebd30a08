import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'

/** A folder for unix sockets, gone with the test: their paths have 107 bytes at most, whatever the checkout's own path is. */
export function socketFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'nsm-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Programs } from './container-command.ts'
import { defaultTokenSeconds } from './options.ts'

/** Each program of ours, as one file per process. */
const needed = ['registry', 'nsmgr', 'forwarder', 'webhook', 'sidecar', 'icmp-responder']

/**
 * How programs of ours are run from their bundles; `tokenSeconds`: the longest life of their tokens, unless a pod says otherwise.
 * FAILED_PRECONDITION names the one that isn't there.
 */
export function programsIn(bundles: string, tokenSeconds: number): Programs {
  const fileOf = (program: string): string => join(bundles, `${program}.cjs`)
  const missing = [...needed.map(fileOf), runnerIn(bundles)].find((path) => !existsSync(path))
  if (missing !== undefined)
    throw new NsmError('FAILED_PRECONDITION', `${missing} is missing: build it with scripts/setup`)
  return {
    // Node 20 would parse 140 public roots at start that no part of the mesh trusts.
    argv: (program) => [process.execPath, '--use-openssl-ca', fileOf(program)],
    env: {
      SSL_CERT_FILE: '/dev/null',
      SSL_CERT_DIR: '/nonexistent',
      ...(tokenSeconds === defaultTokenSeconds ? {} : { NSM_MAX_TOKEN_LIFETIME: `${tokenSeconds}s` }),
    },
    binds: [{ source: bundles, target: bundles, readOnly: true }],
  }
}

export function runnerIn(bundles: string): string {
  return join(bundles, 'nsm-run')
}

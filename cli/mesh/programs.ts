import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Programs } from './container-command.ts'
import { defaultTokenSeconds } from './options.ts'
import type { Bind } from './runner.ts'

/** Where containers find the bundles: their own folder may be closed to other users than root, as homes are. */
const programFolder = '/opt/nsm/programs'
const nodeFile = '/opt/nsm/node'
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
  const node = nodeInContainers(process.execPath)
  return {
    // Node 20 would parse 140 public roots at start that no part of the mesh trusts.
    argv: (program) => [node.path, '--use-openssl-ca', join(programFolder, `${program}.cjs`)],
    env: {
      SSL_CERT_FILE: '/dev/null',
      SSL_CERT_DIR: '/nonexistent',
      // Else each of V8's threads keeps a heap of its own for what a compilation needs: 5 MB after some hundred calls.
      MALLOC_ARENA_MAX: '1',
      ...(tokenSeconds === defaultTokenSeconds ? {} : { NSM_MAX_TOKEN_LIFETIME: `${tokenSeconds}s` }),
    },
    binds: [{ source: bundles, target: programFolder, readOnly: true }, ...node.binds],
  }
}

export function runnerIn(bundles: string): string {
  return join(bundles, 'nsm-run')
}

/**
 * Node.js stays where it is, since its libraries may lie beside it, unless containers can't see or their users can't reach it there:
 * `/run` and `/tmp` are their own, and a version manager keeps it in a home.
 */
export function nodeInContainers(path: string): { readonly path: string; readonly binds: readonly Bind[] } {
  if (!/^\/(?:run|tmp)\//.test(path) && isOpenToAll(dirname(path))) return { path, binds: [] }
  return { path: nodeFile, binds: [{ source: path, target: nodeFile, readOnly: true }] }
}

function isOpenToAll(folder: string): boolean {
  const open = (statSync(folder).mode & 0o001) !== 0
  return open && (folder === '/' || isOpenToAll(dirname(folder)))
}

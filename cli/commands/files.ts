import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { text as textOf } from 'node:stream/consumers'
import { NsmError } from '@nsm/sdk/errors.js'
import type { ManifestFile } from '../mesh/apply.ts'

/** The YAML files at a path: the file, all `.yaml` and `.yml` of a folder in the order of their names, or `-` for standard input. */
export async function readManifests(path: string): Promise<readonly ManifestFile[]> {
  if (path === '-') return [{ name: 'standard input', text: await textOf(process.stdin) }]
  try {
    if (!(await stat(path)).isDirectory()) return [{ name: path, text: await readFile(path, 'utf8') }]
    const names = (await readdir(path)).filter((name) => /\.ya?ml$/.test(name)).toSorted()
    if (names.length === 0) throw new NsmError('NOT_FOUND', `${path} has no .yaml file in it`)
    return await Promise.all(
      names.map(async (name) => ({ name: join(path, name), text: await readFile(join(path, name), 'utf8') })),
    )
  } catch (err) {
    if (err instanceof NsmError) throw err
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT')
      throw new NsmError('NOT_FOUND', `there is no file or folder ${path}`)
    throw new NsmError(
      'NOT_FOUND',
      `${path} can't be read: ${err instanceof Error ? err.message : String(err)}`,
    )
  }
}

import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const builds = fileURLToPath(new URL('../../../build/node', import.meta.url))

/** Path of this version of Node.js, installed on first use; an Error when it can't be had. */
export async function nodeBinary(version: string): Promise<string | Error> {
  const name = `node-${process.platform}-${process.arch}`
  const folder = join(builds, version)
  const binary = join(folder, 'node_modules', name, 'bin/node')
  if (existsSync(binary)) return binary
  mkdirSync(folder, { recursive: true })
  const quiet = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  try {
    await promisify(execFile)('npm', ['install', '--prefix', folder, ...quiet, `${name}@${version}`])
  } catch (err) {
    return new Error(`${name} ${version} can't be installed: ${String(err)}`)
  }
  return existsSync(binary) ? binary : new Error(`${name} ${version} has no ${binary}`)
}

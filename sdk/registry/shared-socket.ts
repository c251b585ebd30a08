import { readlinkSync, realpathSync } from 'node:fs'
import { normalize } from 'node:path'
import { descriptorPath, type DescriptorFunctions } from '../descriptors.ts'
import { NsmError } from '../errors.ts'

const scheme = 'unix://'

/** Whether the URL is a path in one of these folders, as its text stands. */
export function isInSharedFolder(url: string, folders: readonly string[]): boolean {
  const path = url.slice(scheme.length)
  if (!url.startsWith(`${scheme}/`) || path !== normalize(path)) return false
  return folders.some((folder) => isInside(path, folder))
}

/**
 * Opens the socket file that an endpoint names by its path in a folder which it shares with this process (wire contract §6.4, last lines);
 * the caller checks what it is, and closes it. Links that lead out of the folder are refused, whoever puts them there and when.
 * @throws NsmError NOT_FOUND, PERMISSION_DENIED
 */
export function openSharedSocket(
  native: DescriptorFunctions,
  folders: readonly string[],
  url: string,
): number {
  const fd = opened(native, url)
  try {
    const path = readlinkSync(descriptorPath(fd))
    if (folders.some((folder) => isInside(path, realpathSync(folder)))) return fd
    throw new NsmError('PERMISSION_DENIED', `url ${url} leads to ${path}, out of the shared folder`)
  } catch (err) {
    native.close(fd)
    throw NsmError.from(err)
  }
}

function opened(native: DescriptorFunctions, url: string): number {
  try {
    return native.open(url.slice(scheme.length), 'path')
  } catch (cause) {
    const { message } = NsmError.from(cause)
    throw new NsmError('NOT_FOUND', `socket of url ${url} can't be opened: ${message}`, { cause })
  }
}

function isInside(path: string, folder: string): boolean {
  return path.startsWith(folder.endsWith('/') ? folder : `${folder}/`)
}

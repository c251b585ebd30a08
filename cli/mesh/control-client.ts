import { request } from 'node:http'
import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { ControlApi, Method } from './control-api.ts'
import { folderOf, paths } from './options.ts'

/** Calls the daemon of a mesh. */
export type Control = <M extends Method>(
  method: M,
  input: ControlApi[M]['input'],
) => Promise<ControlApi[M]['output']>

/** A client of the mesh of this name, or of the one whose folder is given. Calls throw UNAVAILABLE when it isn't up. */
export function controlOf(name: string, folder: string = folderOf(name)): Control {
  const { control } = paths(folder)
  return async (method, input) => {
    const { status, text } = await post(
      control,
      method,
      input === undefined ? '' : JSON.stringify(input),
    ).catch((err: unknown) => {
      throw unreachable(name, err)
    })
    const value = JSON.parse(text) as unknown
    if (status === 200) return value as ControlApi[typeof method]['output']
    const { code, message } = value as { code: Code; message: string }
    throw new NsmError(code, message)
  }
}

function unreachable(name: string, cause: unknown): NsmError {
  const { code } = cause as NodeJS.ErrnoException
  if (code === 'EACCES')
    return new NsmError('PERMISSION_DENIED', `mesh "${name}" belongs to root: run this as root`, { cause })
  const start = name === 'local' ? 'nsm up' : `nsm up --name ${name}`
  return new NsmError('UNAVAILABLE', `mesh "${name}" is not up: start it with \`${start}\``, { cause })
}

async function post(
  socketPath: string,
  method: string,
  body: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath, path: `/${method}`, method: 'POST', agent: false }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk))
      res.once('error', reject)
      res.once('end', () => resolve({ status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
    })
    req.once('error', reject)
    req.end(body)
  })
}

import { chmod } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Handlers, Method } from './control-api.ts'

const maxInputBytes = 16 * 1024 * 1024

/** Serves `POST /<method>` on a unix socket of mode 0600. The answer closes it. */
export async function controlServer(path: string, handlers: Handlers): Promise<() => Promise<void>> {
  const server = createServer((req, res) => {
    answer(handlers, req).then(
      (output) => send(res, 200, output ?? null),
      (reason: unknown) => {
        const { code, message } = NsmError.from(reason)
        send(res, 400, { code, message })
      },
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  await chmod(path, 0o600)
  return async () => {
    server.closeIdleConnections()
    await new Promise<void>((resolve) => server.close(() => resolve()))
  }
}

async function answer(handlers: Handlers, req: IncomingMessage): Promise<unknown> {
  const method = (req.url ?? '').slice(1)
  if (!Object.hasOwn(handlers, method)) throw new NsmError('UNIMPLEMENTED', `there is no method ${method}`)
  const text = await bodyOf(req)
  const handler = handlers[method as Method] as (input: unknown) => Promise<unknown>
  return handler(text === '' ? undefined : JSON.parse(text))
}

async function bodyOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxInputBytes)
      throw new NsmError('INVALID_ARGUMENT', `more than ${maxInputBytes} bytes at once`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function send(res: ServerResponse, status: number, value: unknown): void {
  res.on('error', () => undefined)
  res
    .writeHead(status, { 'content-type': 'application/json', connection: 'close' })
    .end(JSON.stringify(value))
}

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { controlOf } from '@nsm/cli/mesh/control-client.js'
import type { Handlers } from '@nsm/cli/mesh/control-api.js'
import { controlServer } from '@nsm/cli/mesh/control-server.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t, { type Test } from 'tap'

async function served(t: Test, handlers: Partial<Handlers>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'nsm-'))
  const close = await controlServer(join(folder, 'control.sock'), handlers as Handlers)
  t.teardown(async () => {
    await close()
    rmSync(folder, { recursive: true })
  })
  return folder
}

t.test('input and output go through, and errors keep their code', async (t) => {
  const folder = await served(t, {
    namespaces: async () => ['a'],
    exec: async ({ pod }) => {
      throw new NsmError('NOT_FOUND', `no ${pod}`)
    },
    down: async () => undefined,
  })
  const control = controlOf('m', folder)
  t.strictSame(await control('namespaces', undefined), ['a'])
  t.equal(await control('down', undefined), null)
  await t.rejects(control('exec', { namespace: 'n', pod: 'p' }), { code: 'NOT_FOUND', message: 'no p' })
  t.equal(statSync(join(folder, 'control.sock')).mode & 0o777, 0o600)
})

t.test('a mesh that is not up is told so, with what to do', async (t) => {
  await t.rejects(controlOf('m', '/no/such/folder')('pods', undefined), {
    code: 'UNAVAILABLE',
    message: 'mesh "m" is not up: start it with `nsm up --name m`',
  })
})

t.test('whatever is sent, it answers', async (t) => {
  const folder = await served(t, { namespaces: async () => [] })
  const post = async (path: string, body: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const req = request({ socketPath: join(folder, 'control.sock'), path, method: 'POST' }, (res) => {
        let text = ''
        res.on('data', (chunk: Buffer) => (text += chunk.toString()))
        res.once('end', () => resolve(`${res.statusCode} ${text}`))
      })
      req.once('error', reject)
      req.end(body)
    })
  t.match(await post('/toString', ''), /^400 .*there is no method toString/)
  t.match(await post('/namespaces', '{'), /^400 .*JSON/)
  t.equal(await post('/namespaces', ''), '200 []')
})

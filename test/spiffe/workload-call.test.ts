import { once } from 'node:events'
import http2, { type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import type { SpiffeError } from '@nsm/spiffe/errors.js'
import { serverStream, type WorkloadCall } from '@nsm/spiffe/workload-call.js'
import t, { type Test } from 'tap'

const maxMessageBytes = 1000
const never = new AbortController().signal

interface Outcome {
  readonly err: SpiffeError | undefined
  readonly messages: readonly string[]
}

/** Makes a call to a server that does what the test wants with its stream. */
async function call(
  t: Test,
  serve: (stream: ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => unknown,
  options: Partial<WorkloadCall> = {},
): Promise<Outcome> {
  const server = http2.createServer()
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    void serve(stream, headers)
  })
  server.on('session', (session) => session.on('error', () => undefined))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const messages: string[] = []
  const err = await serverStream({
    target: `ipv4:127.0.0.1:${(server.address() as AddressInfo).port}`,
    path: '/Service/Method',
    headers: { 'x-mark': 'true' },
    message: Buffer.from('ask'),
    maxMessageBytes,
    signal: never,
    onMessage: (bytes) => messages.push(bytes.toString()),
    ...options,
  })
  return { err, messages }
}

function frame(text: string, flag = 0, length = Buffer.byteLength(text)): Buffer {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt8(flag)
  prefix.writeUInt32BE(length, 1)
  return Buffer.concat([prefix, Buffer.from(text)])
}

/** Answers the bytes in these pieces, then the trailers. */
async function answer(
  stream: ServerHttp2Stream,
  pieces: Iterable<Buffer>,
  trailers: Record<string, string>,
): Promise<void> {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  for (const piece of pieces) {
    stream.write(piece)
    await turn()
  }
  stream.end()
}

t.test('messages are put together however they are cut', async (t) => {
  const bytes = Buffer.concat(['one', '', 'a'.repeat(maxMessageBytes), 'four'].map((text) => frame(text)))
  for (const size of [1, 2, 7, bytes.length]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
      bytes.subarray(i * size, (i + 1) * size),
    )
    const { err, messages } = await call(t, (stream) => answer(stream, pieces, { 'grpc-status': '0' }))
    t.equal(err, undefined)
    t.same(messages, ['one', '', 'a'.repeat(maxMessageBytes), 'four'], `pieces of ${size}`)
  }
})

t.test('the request is one framed message with its headers', async (t) => {
  let seen: http2.IncomingHttpHeaders = {}
  const body: Buffer[] = []
  await call(t, (stream, headers) => {
    seen = headers
    stream.on('data', (chunk: Buffer) => body.push(chunk))
    stream.on('end', () => void answer(stream, [], { 'grpc-status': '0' }))
  })
  t.same(Buffer.concat(body), frame('ask'))
  t.match(seen, {
    ':method': 'POST',
    ':path': '/Service/Method',
    'content-type': 'application/grpc',
    te: 'trailers',
    'x-mark': 'true',
  })
})

t.test('a status is told, in trailers or alone', async (t) => {
  const trailers = { 'grpc-status': '7', 'grpc-message': 'no 100%25 identity %E2%80%93 sorry' }
  const inTrailers = await call(t, (stream) => answer(stream, [frame('one')], trailers))
  t.match(inTrailers, {
    err: { code: 'PERMISSION_DENIED', message: /no 100% identity – sorry/ },
    messages: ['one'],
  })
  const alone = await call(t, (stream) =>
    stream.respond({ ':status': 200, ...trailers }, { endStream: true }),
  )
  t.match(alone.err, { code: 'PERMISSION_DENIED' })
  const broken = { 'grpc-status': '3', 'grpc-message': '100% broken' }
  t.match((await call(t, (stream) => answer(stream, [], broken))).err, {
    code: 'INVALID_ARGUMENT',
    message: /100% broken/,
  })
  t.match((await call(t, (stream) => answer(stream, [], { 'grpc-status': '99' }))).err, {
    code: 'UNAVAILABLE',
  })
})

t.test('an answer that breaks the rules ends the call, and nothing more is taken from it', async (t) => {
  const ok = { 'grpc-status': '0' }
  const bad: [string, (stream: ServerHttp2Stream) => unknown, string, RegExp][] = [
    ['compressed', (stream) => answer(stream, [frame('x', 1), frame('y')], ok), 'UNAVAILABLE', /compressed/],
    ['too long', (stream) => answer(stream, [frame('x', 0, 1001)], ok), 'RESOURCE_EXHAUSTED', /1001 bytes/],
    [
      '4 GiB announced',
      (stream) => answer(stream, [frame('x', 0, 0xffff_ffff)], ok),
      'RESOURCE_EXHAUSTED',
      /bytes/,
    ],
    ['no status', (stream) => answer(stream, [], {}), 'UNAVAILABLE', /without a status/],
    ['HTTP 404', (stream) => stream.respond({ ':status': 404 }, { endStream: true }), 'UNAVAILABLE', /404/],
    ['reset', (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR), 'UNAVAILABLE', /./],
    ['connection cut', (stream) => stream.session?.destroy(), 'UNAVAILABLE', /./],
  ]
  for (const [name, serve, code, message] of bad) {
    const { err, messages } = await call(t, serve)
    t.match(err, { code, message }, name)
    t.same(messages, [], name)
  }
})

t.test('a server that is not there, and one that never answers', async (t) => {
  const nobody = await call(t, () => undefined, { target: 'unix:/nonexistent/api.sock' })
  t.match(nobody.err, { code: 'UNAVAILABLE', message: /nonexistent/ })
  const controller = new AbortController()
  const silent = await call(t, () => controller.abort(), { signal: controller.signal })
  t.match(silent.err, { code: 'UNAVAILABLE' })
})

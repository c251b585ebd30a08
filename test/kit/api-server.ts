import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import jsonPatch from 'fast-json-patch'
import { apiStore, type ApiStore, type StoredEvent } from './api-store.ts'
import { keyAndCertificate } from './certificate.ts'

/** A call that came in. */
export interface SeenCall {
  readonly method: string
  /** Without query. */
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  readonly headers: IncomingMessage['headers']
  readonly body: unknown
}

/** The part of the Kubernetes API that clients of objects need, on a real TLS port, with the faults that a real one may have. */
export interface TestApiServer {
  readonly port: number
  /** PEM. */
  readonly ca: string
  readonly store: ApiStore
  /** In the order of arrival. */
  readonly calls: readonly SeenCall[]
  /** Watches that are open. */
  readonly watches: number
  /** Asked before each call: answers it (true) or leaves it to the server. */
  intercept: ((call: SeenCall, res: ServerResponse) => boolean) | undefined
  /** How much later than everything else watches tell of a change. */
  lagMs: number
  /** Sends the version to all watches. */
  bookmark(): void
  /** Ends all watches in good order. */
  endWatches(): void
  /** Destroys all connections. */
  cut(): void
  /** Refuses connections until `start`, which listens on the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

interface Watch {
  readonly send: (event: object) => void
  readonly end: () => void
}

/** Starts one; ends with `stop`. */
export async function testApiServer(): Promise<TestApiServer> {
  const { key, cert } = await keyAndCertificate()
  const store = apiStore()
  const calls: SeenCall[] = []
  const watches = new Set<Watch>()
  const sockets = new Set<Duplex>()
  const https = createServer({ key, cert }, (req, res) => void respond(req, res))
  https.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  let port = 0

  async function respond(req: IncomingMessage, res: ServerResponse): Promise<void> {
    req.setEncoding('utf8')
    const url = new URL(req.url ?? '/', 'https://server')
    const text = (await req.toArray()).join('')
    const call: SeenCall = {
      method: req.method ?? '',
      path: url.pathname,
      query: Object.fromEntries(url.searchParams),
      headers: req.headers,
      body: text === '' ? undefined : JSON.parse(text),
    }
    calls.push(call)
    if (server.intercept?.(call, res) === true) return
    if (call.query['watch'] === 'true') watchOf(call, res)
    else answer(store, call, res)
  }

  function watchOf(call: SeenCall, res: ServerResponse): void {
    const { collection, namespace } = placeOf(call.path)
    const missed = store.since(Number(call.query['resourceVersion'] ?? 0))
    if (missed === undefined) {
      status(res, 410, 'Expired', 'too old resource version')
      return
    }
    res.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
    const send = (event: object): void => {
      if (!res.writableEnded) res.write(`${JSON.stringify(event)}\n`)
    }
    const tell = (event: StoredEvent): void => {
      const { object, type } = event
      if (event.collection !== collection || !isSelected(object, call.query)) return
      if (namespace === undefined || object.metadata.namespace === namespace) send({ type, object })
    }
    const watch = { send, end: () => void res.end() }
    const forget = store.onEvent((event) => {
      if (server.lagMs === 0) tell(event)
      else setTimeout(tell, server.lagMs, event)
    })
    watches.add(watch)
    res.on('close', () => {
      forget()
      watches.delete(watch)
    })
    for (const event of missed) tell(event)
  }

  const server: TestApiServer = {
    get port() {
      return port
    },
    ca: cert,
    store,
    calls,
    get watches() {
      return watches.size
    },
    intercept: undefined,
    lagMs: 0,
    bookmark() {
      const object = { metadata: { resourceVersion: String(store.version) } }
      for (const { send } of watches) send({ type: 'BOOKMARK', object })
    },
    endWatches() {
      for (const { end } of watches) end()
    },
    cut() {
      for (const socket of sockets) socket.destroy()
    },
    async stop() {
      await new Promise<void>((done) => {
        https.close(() => done())
        this.cut()
      })
    },
    async start() {
      await new Promise<void>((done) => https.listen(port, '127.0.0.1', done))
      port = (https.address() as AddressInfo).port
    },
  }
  await server.start()
  return server
}

/** Writes Kubernetes' Status. */
export function status(res: ServerResponse, code: number, reason: string, message: string): void {
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message }
  res.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

function tooLarge(res: ServerResponse): void {
  const details = { causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }] }
  const body = {
    kind: 'Status',
    code: 504,
    reason: 'Timeout',
    message: 'Too large resource version',
    details,
  }
  res.writeHead(504, { 'content-type': 'application/json', 'retry-after': '1' }).end(JSON.stringify(body))
}

interface Place {
  readonly collection: string
  readonly namespace: string | undefined
  readonly name: string | undefined
}

/** A path such as `/apis/g/v1/namespaces/n/things/x`. Namespaces themselves are a collection, too. */
function placeOf(path: string): Place {
  const parts = path.split('/').map(decodeURIComponent)
  const base = parts.slice(0, parts[1] === 'api' ? 3 : 4).join('/')
  const [first = '', second, third, fourth] = parts.slice(parts[1] === 'api' ? 3 : 4)
  if (first === 'namespaces' && third !== undefined) {
    return { collection: `${base}/${third}`, namespace: second, name: fourth }
  }
  return { collection: `${base}/${first}`, namespace: undefined, name: second }
}

function answer(store: ApiStore, call: SeenCall, res: ServerResponse): void {
  const place = placeOf(call.path)
  const { collection, namespace, name } = place
  const ok = (object: unknown, code = 200): void =>
    void res.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(object))
  if (name === undefined && call.method === 'GET') {
    if (Number(call.query['resourceVersion'] ?? 0) > store.version) tooLarge(res)
    else ok(page(store, place, call.query))
    return
  }
  const given = call.body as KubernetesObject
  const found = store.get(collection, namespace, name ?? given.metadata.name ?? '')
  if (call.method === 'POST') {
    if (found !== undefined) status(res, 409, 'AlreadyExists', `"${found.metadata.name}" already exists`)
    else {
      const metadata = { ...given.metadata, ...(namespace === undefined ? {} : { namespace }) }
      ok(store.put(collection, { ...given, metadata }), 201)
    }
    return
  }
  if (found === undefined) {
    status(res, 404, 'NotFound', `"${name}" not found`)
    return
  }
  if (call.method === 'GET') ok(found)
  else if (call.method === 'DELETE') ok(store.remove(collection, namespace, name ?? ''))
  else write(store, collection, { call, found, res })
}

function write(
  store: ApiStore,
  collection: string,
  { call, found, res }: { call: SeenCall; found: KubernetesObject; res: ServerResponse },
): void {
  const changed = call.method === 'PUT' ? (call.body as KubernetesObject) : patched(found, call)
  const version = changed.metadata.resourceVersion
  if (version !== undefined && version !== found.metadata.resourceVersion) {
    status(res, 409, 'Conflict', 'the object has been modified')
    return
  }
  const stored = store.put(collection, changed)
  res.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(stored))
}

function patched(object: KubernetesObject, call: SeenCall): KubernetesObject {
  if (call.headers['content-type'] !== 'application/json-patch+json') {
    return merged(object, call.body) as KubernetesObject
  }
  return jsonPatch.applyPatch(structuredClone(object), call.body as jsonPatch.Operation[]).newDocument
}

/** RFC 7386. */
function merged(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const base = typeof target === 'object' && target !== null ? (target as Record<string, unknown>) : {}
  const entries = Object.entries(patch as Record<string, unknown>)
  const kept = Object.entries(base).filter(([name]) => !Object.hasOwn(patch, name))
  const set = entries.filter(([, value]) => value !== null)
  return Object.fromEntries([...kept, ...set.map(([name, value]) => [name, merged(base[name], value)])])
}

function page(store: ApiStore, { collection, namespace }: Place, query: SeenCall['query']): object {
  const all = store.list(collection, namespace).filter((object) => isSelected(object, query))
  const from = Number(query['continue'] ?? 0)
  const to = from + Number(query['limit'] ?? all.length)
  const kind = `${all[0]?.kind ?? 'Object'}List`
  // A list's items don't say what they are.
  const without = new Set(['apiVersion', 'kind'])
  const items = all
    .slice(from, to)
    .map((object) => Object.fromEntries(Object.entries(object).filter(([field]) => !without.has(field))))
  const more = to < all.length ? { continue: String(to) } : {}
  return {
    apiVersion: 'v1',
    kind,
    metadata: { resourceVersion: String(store.version), ...more },
    items,
  }
}

/** Selectors of the form `a=b,c=d`; fields by their path. */
function isSelected(object: KubernetesObject, query: SeenCall['query']): boolean {
  const pairs = (text = ''): string[][] => (text === '' ? [] : text.split(',').map((pair) => pair.split('=')))
  const field = (path: string): unknown =>
    path.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], object)
  return (
    pairs(query['fieldSelector']).every(([path = '', value]) => (field(path) ?? '') === value) &&
    pairs(query['labelSelector']).every(([label = '', value]) => object.metadata.labels?.[label] === value)
  )
}

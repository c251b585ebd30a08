import { silent } from '@nsm/sdk/log.js'
import { memoryStore } from '@nsm/webhook/authorities.js'
import { bundleFile } from '@nsm/webhook/bundle-file.js'
import { ownCertificate } from '@nsm/webhook/own-certificate.js'
import { fileCertificate } from '@nsm/webhook/file-certificate.js'
import type { ServingCertificate } from '@nsm/webhook/certificate.js'
import type { InjectionSettings } from '@nsm/webhook/inject.js'
import { namespaceInfo, noNamespaces, type NamespaceInfo } from '@nsm/webhook/namespaces.js'
import type { Decision } from '@nsm/webhook/review.js'
import { webhookServer, type WebhookServerOptions } from '@nsm/webhook/server.js'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'

const settings: InjectionSettings = {
  annotation: 'networkservicemesh.io',
  containerImages: ['sidecar'],
  initContainerImages: [],
  sockets: 'auto',
  nativeSidecars: true,
  readinessGate: false,
  readinessProbe: false,
  envs: {},
  nsurlEnvName: 'NSM_NETWORK_SERVICES',
  labels: {},
  dns: {
    mode: 'off',
    resolvConf: 'auto',
    image: '',
    cluster: { servers: [], domain: 'cluster.local', nodeSearch: [] },
    resources: { requestsCpu: '10m', requestsMemory: '32Mi', limitsCpu: '200m', limitsMemory: '128Mi' },
  },
  resources: { requestsCpu: '10m', requestsMemory: '24Mi', limitsCpu: '200m', limitsMemory: '96Mi' },
}

async function certificateIn(
  t: Test,
  folder: string,
): Promise<{ certificate: ServingCertificate; ca: () => string }> {
  const caBundlePath = join(folder, 'ca.pem')
  const certificate = await ownCertificate({
    names: ['localhost', '127.0.0.1'],
    store: memoryStore(),
    publisher: bundleFile(caBundlePath),
    log: silent,
  })
  t.teardown(() => certificate.close())
  return { certificate, ca: () => readFileSync(caBundlePath, 'utf8') }
}

interface Served {
  readonly port: number
  readonly decisions: Decision[]
}

async function serve(
  t: Test,
  certificate: ServingCertificate,
  more: Partial<WebhookServerOptions> = {},
): Promise<Served> {
  const decisions: Decision[] = []
  const server = await webhookServer({
    listenOn: '127.0.0.1:0',
    certificate,
    settings,
    namespaces: noNamespaces,
    log: silent,
    admitted: (decision) => void decisions.push(decision),
    ...more,
  })
  t.teardown(() => server.close(AbortSignal.timeout(100)))
  return { port: server.port, decisions }
}

async function call(
  { port }: Served,
  ca: string,
  path: string,
  body?: string | Buffer,
): Promise<{ status: number | undefined; text: string; headers: IncomingHttpHeaders }> {
  const req = request({
    host: 'localhost',
    port,
    path,
    ca,
    method: body === undefined ? 'GET' : 'POST',
    agent: false,
  })
  req.end(body)
  const [res] = (await once(req, 'response')) as [import('node:http').IncomingMessage]
  let text = ''
  for await (const chunk of res) text += String(chunk)
  return { status: res.statusCode, text, headers: res.headers }
}

t.test('answers reviews over HTTPS with a certificate of its own', async (t) => {
  const { certificate, ca } = await certificateIn(t, t.testdir())
  const served = await serve(t, certificate)
  t.match(await call(served, ca(), '/ready'), { status: 200, text: 'ok\n' })
  const pod = {
    metadata: { name: 'p', annotations: { 'networkservicemesh.io': 'kernel://db/nsm-1' } },
    spec: {},
  }
  const review = {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: { uid: 'u', kind: { kind: 'Pod' }, operation: 'CREATE', object: pod },
  }
  const answer = await call(served, ca(), '/mutate', JSON.stringify(review))
  t.match(JSON.parse(answer.text), {
    kind: 'AdmissionReview',
    response: { uid: 'u', allowed: true, patchType: 'JSONPatch' },
  })
  t.match(served.decisions, [{ result: 'injected' }])
})

t.test('bodies that are no review get an answer', async (t) => {
  const { certificate, ca } = await certificateIn(t, t.testdir())
  const served = await serve(t, certificate)
  for (const body of ['', 'nonsense', '[]', '"x"', '{"kind":1}', Buffer.from([0xff, 0xfe, 0])]) {
    t.equal((await call(served, ca(), '/mutate', body)).status, 400, JSON.stringify(body))
  }
  const large = JSON.stringify({ x: 'x'.repeat(3 * 1_048_576) })
  t.match(await call(served, ca(), '/mutate', large), { status: 413, text: /must not be larger/ })
  t.same(
    served.decisions.map(({ result, reason }) => `${result} ${reason}`),
    [
      'error malformed_body',
      'error malformed_body',
      'error malformed_review',
      'error malformed_review',
      'error malformed_review',
      'error malformed_body',
      'error too_large',
    ],
    'each is counted: the failure policy decides about the pod',
  )
  t.equal((await call(served, ca(), '/elsewhere')).status, 404)
  t.equal((await call(served, ca(), '/ready')).status, 200, 'still there')
})

t.test('a fault of our own is answered and counted', async (t) => {
  const { certificate, ca } = await certificateIn(t, t.testdir())
  const get = (): never => {
    throw new Error('broken')
  }
  const served = await serve(t, certificate, { namespaces: { ...noNamespaces, get } })
  const review = {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: { uid: 'u', kind: { kind: 'Pod' }, operation: 'CREATE', object: {} },
  }
  t.match(await call(served, ca(), '/mutate', JSON.stringify(review)), {
    status: 500,
    text: '{"message":"internal error"}',
  })
  t.match(served.decisions, [{ result: 'error', reason: 'internal' }])
})

t.test('a certificate from files is taken over when it changes, a broken one is not', async (t) => {
  const folder = t.testdir({ a: {}, b: {} })
  const [a, b] = [await certificateIn(t, join(folder, 'a')), await certificateIn(t, join(folder, 'b'))]
  const [certPath, keyPath] = [join(folder, 'tls.crt'), join(folder, 'tls.key')]
  const write = ({ certificate }: typeof a): void => {
    writeFileSync(certPath, certificate.current.cert)
    writeFileSync(keyPath, certificate.current.key)
  }
  await t.rejects(fileCertificate(certPath, keyPath, silent), { code: 'NOT_FOUND' })
  write(a)
  const certificate = await fileCertificate(certPath, keyPath, silent)
  t.teardown(() => certificate.close())
  const served = await serve(t, certificate)
  const shown = async (): Promise<string> => {
    const socket = connect({ port: served.port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const { fingerprint256 } = socket.getPeerCertificate()
    socket.destroy()
    return fingerprint256
  }
  const fingerprint = (pair: ServingCertificate): string =>
    new X509Certificate(pair.current.cert).fingerprint256
  t.equal(await shown(), fingerprint(a.certificate))
  writeFileSync(keyPath, b.certificate.current.key)
  await new Promise((done) => setTimeout(done, 150))
  t.equal(await shown(), fingerprint(a.certificate), 'key and certificate do not fit')
  const changed = new Promise<void>((done) => certificate.onChange(() => done()))
  write(b)
  await changed
  t.equal(await shown(), fingerprint(b.certificate))
})

t.test('a pod in a namespace that was just made waits for what is known of it', async (t) => {
  const { certificate, ca } = await certificateIn(t, t.testdir())
  let known: NamespaceInfo | undefined
  const asked: string[] = []
  const namespaces = {
    ...noNamespaces,
    isComplete: true,
    get: () => known,
    known: async (name: string) => {
      asked.push(name)
      known = namespaceInfo({ annotations: { 'networkservicemesh.io': 'kernel://db/nsm-1' } })
    },
  }
  const served = await serve(t, certificate, { namespaces })
  const review = {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: 'u',
      kind: { kind: 'Pod' },
      operation: 'CREATE',
      namespace: 'new',
      object: { metadata: {}, spec: {} },
    },
  }
  t.match((await call(served, ca(), '/mutate', JSON.stringify(review))).text, 'JSONPatch')
  t.match((await call(served, ca(), '/mutate', JSON.stringify(review))).text, 'JSONPatch')
  t.same(asked, ['new'])
})

t.test('when it is to stop it goes on answering, and sends callers elsewhere', async (t) => {
  const { certificate, ca } = await certificateIn(t, t.testdir())
  let fault: string | undefined
  const served = await serve(t, certificate, { fault: () => fault })
  t.equal((await call(served, ca(), '/ready')).status, 200)
  fault = 'told to stop'
  t.match(await call(served, ca(), '/ready'), { status: 503, text: 'told to stop\n' })
  const review = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: { uid: 'u' } }
  t.match(await call(served, ca(), '/mutate', JSON.stringify(review)), {
    status: 200,
    headers: { connection: 'close' },
  })
})

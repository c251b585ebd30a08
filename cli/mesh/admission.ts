import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { request } from 'node:https'
import { NsmError } from '@nsm/sdk/errors.js'
import { applyPatch, type Operation } from '../manifest/json-patch.ts'
import { checkObject } from '../manifest/object-rules.ts'
import { namespaceOf, type Pod } from '../manifest/objects.ts'
import { isObject } from '../manifest/shape.ts'

/** Where the webhook answers. */
export interface WebhookEndpoint {
  readonly host: string
  readonly port: number
  /** The name that its certificate is for. */
  readonly serverName: string
  /** PEM; read for each call, since the webhook renews it. */
  readonly caFile: string
}

/** A pod as the webhook wants it, and what it has to say about it. */
export interface Admitted {
  readonly pod: Pod
  readonly warnings: readonly string[]
}

const timeoutMs = 10_000
const maxAnswerBytes = 8 * 1024 * 1024

/**
 * Asks the webhook, as an API server would, what is to become of a new pod.
 * @throws NsmError FAILED_PRECONDITION with the webhook's reason when it denies, UNAVAILABLE when it can't be asked.
 */
export async function admit(
  pod: Pod,
  { dryRun = false, ...endpoint }: WebhookEndpoint & { readonly dryRun?: boolean },
  signal: AbortSignal,
): Promise<Admitted> {
  const review = reviewOf(pod, dryRun)
  const answer = await post(endpoint, JSON.stringify(review), signal)
  const response = isObject(answer) ? answer['response'] : undefined
  if (!isObject(response) || response['uid'] !== review.request.uid)
    throw new NsmError('UNAVAILABLE', 'the webhook answered something else than an AdmissionReview')
  if (response['allowed'] !== true) {
    const status = isObject(response['status']) ? response['status'] : {}
    const reason = typeof status['message'] === 'string' ? status['message'] : 'without a reason'
    throw new NsmError('FAILED_PRECONDITION', `denied by the webhook: ${reason}`)
  }
  const admitted = applyPatch(pod, patchOf(response))
  const fault = checkObject(admitted)[0]
  if (fault !== undefined)
    throw new NsmError(
      'INVALID_ARGUMENT',
      `what the webhook made of it can't run: ${fault.path} ${fault.message}`,
    )
  const warnings = Array.isArray(response['warnings']) ? response['warnings'] : []
  return { pod: admitted as Pod, warnings: warnings.map(String) }
}

function reviewOf(pod: Pod, dryRun: boolean) {
  const { name } = pod.metadata
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: randomUUID(),
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      requestKind: { group: '', version: 'v1', kind: 'Pod' },
      requestResource: { group: '', version: 'v1', resource: 'pods' },
      ...(name === undefined ? {} : { name }),
      namespace: namespaceOf(pod),
      operation: 'CREATE',
      userInfo: { username: 'nsm-up', groups: ['system:masters'] },
      object: pod,
      oldObject: null,
      dryRun,
      options: { apiVersion: 'meta.k8s.io/v1', kind: 'CreateOptions' },
    },
  }
}

function patchOf(response: Readonly<Record<string, unknown>>): readonly Operation[] {
  const { patch } = response
  if (typeof patch !== 'string') return []
  try {
    return JSON.parse(Buffer.from(patch, 'base64').toString()) as readonly Operation[]
  } catch (err) {
    throw new NsmError('UNAVAILABLE', "the webhook's patch is no JSON", { cause: err })
  }
}

async function post(endpoint: WebhookEndpoint, body: string, signal: AbortSignal): Promise<unknown> {
  const { host, port, serverName } = endpoint
  try {
    const ca = await readFile(endpoint.caFile)
    const text = await new Promise<string>((resolve, reject) => {
      const req = request(
        {
          host,
          port,
          servername: serverName,
          ca,
          method: 'POST',
          path: '/mutate?timeout=10s',
          headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
          agent: false,
          signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
        },
        (res) => {
          const chunks: Buffer[] = []
          let size = 0
          res.on('data', (chunk: Buffer) => {
            chunks.push(chunk)
            size += chunk.length
            if (size > maxAnswerBytes)
              req.destroy(new Error(`the answer is longer than ${maxAnswerBytes} bytes`))
          })
          res.once('error', reject)
          res.once('end', () => {
            const answer = Buffer.concat(chunks).toString()
            if (res.statusCode === 200) resolve(answer)
            else reject(new Error(`HTTP status ${res.statusCode}: ${answer.slice(0, 300)}`))
          })
        },
      )
      req.once('error', reject)
      req.end(body)
    })
    return JSON.parse(text) as unknown
  } catch (err) {
    const reason = err instanceof Error ? err.message : String(err)
    throw new NsmError('UNAVAILABLE', `the webhook can't be asked: ${reason}`, { cause: err })
  }
}

import type { ApiClient, KubernetesObject, Selection } from '@nsm/kubernetes/api-client.js'
import { NsmError } from '@nsm/sdk/errors.js'
import { canI, lacksRights, type Verb } from './access.ts'
import { listAt, textAt } from './fields.ts'

/** An object of the cluster; what it holds is read with `fields.ts`. */
export type Item = KubernetesObject

/** What the plugin reads of a cluster. Each call rejects with NsmError; PERMISSION_DENIED says which rights are missing and how to ask for them. */
export interface Cluster {
  /** Namespace of the kubeconfig's context. */
  readonly namespace: string
  get(path: string): Promise<Item>
  /** All objects of a collection, page by page. */
  list(path: string, select?: Selection): Promise<readonly Item[]>
  /** What the API server would make of an object; nothing is made. */
  dryRun(path: string, object: Item): Promise<Item>
  /** An answer that isn't an object, such as a log or metrics; bounded. */
  text(path: string): Promise<string>
  /** The same as it comes, until the signal aborts. */
  stream(path: string, signal: AbortSignal): AsyncIterable<string>
  close(): void
}

const pageSize = 500
const maxTextLength = 16 * 1024 * 1024

/** The cluster behind an API client. */
export function clusterOf(client: ApiClient): Cluster {
  async function list(path: string, select: Selection = {}): Promise<readonly Item[]> {
    const items: Item[] = []
    let next = ''
    do {
      const query = new URLSearchParams({
        limit: String(pageSize),
        ...select,
        ...(next === '' ? {} : { continue: next }),
      })
      const page = await allowed('list', path, client.get(`${path}?${query.toString()}`))
      items.push(...(listAt(page, 'items') as Item[]))
      next = textAt(page, 'metadata', 'continue')
    } while (next !== '')
    return items
  }
  async function* stream(path: string, signal: AbortSignal): AsyncIterable<string> {
    yield* await allowed('get', path, client.stream(path, signal))
  }
  return {
    namespace: client.namespace,
    get: async (path) => allowed('get', path, client.get(path)),
    list,
    dryRun: async (path, object) => allowed('create', path, client.create(`${path}?dryRun=All`, object)),
    async text(path) {
      let text = ''
      for await (const chunk of stream(path, AbortSignal.timeout(textTimeoutMs))) {
        text += chunk
        if (text.length > maxTextLength)
          throw new NsmError('RESOURCE_EXHAUSTED', `the answer is longer than ${maxTextLength} characters`)
      }
      return text
    },
    stream,
    close: () => client.close(),
  }
}

const textTimeoutMs = 10_000

async function allowed<T>(verb: Verb, path: string, answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (err) {
    const { code, message } = NsmError.from(err)
    // The call itself means nothing to who only wants to see a mesh.
    const said = message.replace(/^[A-Z]+ \/\S*: /, '')
    const way = lacksRights(said) ? `; see \`${canI(verb, path)}\`` : ''
    throw new NsmError(code, said + way, { cause: err })
  }
}

import type { Command } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import { parseNsUrls } from '@nsm/api/nsurl.js'
import { absent } from '@nsm/kubernetes/absent.js'
import { connectionsOf } from '../cluster/connections.ts'
import { eventsIn } from '../cluster/events.ts'
import { listAt, textAt } from '../cluster/fields.ts'
import { inParallel } from '../cluster/in-parallel.ts'
import { withSidecar } from '../cluster/injection.ts'
import { asks, injected, podsIn, type InjectedPod } from '../cluster/pods.ts'
import { endpointsIn, servicesIn } from '../cluster/registry-objects.ts'
import type { Context } from '../commands/context.ts'
import { connectionsIn } from '../output/connections.ts'
import { eventsText, podText } from '../output/described-pod.ts'
import { endpointText, serviceText, type Client } from '../output/described-registry.ts'
import {
  commonOptions,
  inCluster,
  outputOption,
  printed,
  type CommonOptions,
  type Session,
} from './options.ts'

type Given = CommonOptions & { readonly output: 'table' | 'json' | 'yaml' }
type Kind = 'pod' | 'service' | 'endpoint'

/** What a description holds, as text and as data. */
interface Description {
  readonly text: string
  readonly data: unknown
}

const kinds: Readonly<Record<string, Kind>> = {
  pod: 'pod',
  pods: 'pod',
  po: 'pod',
  service: 'service',
  networkservice: 'service',
  networkservices: 'service',
  netsvc: 'service',
  netsvcs: 'service',
  endpoint: 'endpoint',
  networkserviceendpoint: 'endpoint',
  networkserviceendpoints: 'endpoint',
  nse: 'endpoint',
  nses: 'endpoint',
}

/** `kubectl nsm describe`. */
export function describeCommand(program: Command, context: Context): void {
  commonOptions(program.command('describe'))
    .description("show all about a pod's connections, a network service, or an endpoint")
    .argument(
      '<name...>',
      'NAME, or its kind before it: pod, service or endpoint, as `service db` or `service/db`',
    )
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (words: readonly string[], given: Given, command: Command) => {
      const { kind, name } = meant(words, command)
      await inCluster(context, given, async (session) => {
        const { text, data } = await describe(session, kind, name)
        session.terminal.out(given.output === 'table' ? text : printed(data, given.output))
      })
    })
}

function meant(words: readonly string[], command: Command): { kind: Kind | undefined; name: string } {
  const parts = words.flatMap((word) => word.split('/')).filter((part) => part !== '')
  const [first = '', second] = parts
  if (parts.length === 0 || parts.length > 2) command.error('error: say one name, or a kind and a name')
  if (second === undefined) return { kind: undefined, name: first }
  const kind = Object.hasOwn(kinds, first) ? kinds[first] : undefined
  if (kind === undefined) command.error(`error: ${first} is no kind; there is pod, service and endpoint`)
  return { kind, name: second }
}

/** Without a kind: a pod with a sidecar, else a service, else an endpoint of that name, as endpoints are called like their pods. */
async function describe(session: Session, kind: Kind | undefined, name: string): Promise<Description> {
  const found =
    (await optional(kind, 'pod', async () => describePod(session, name, kind === undefined))) ??
    (await optional(kind, 'service', async () => describeService(session, name))) ??
    (await optional(kind, 'endpoint', async () => describeEndpoint(session, name)))
  if (found !== undefined) return found
  const what =
    kind === undefined ? `pod with a sidecar in namespace ${session.namespace}, service or endpoint` : kind
  throw new NsmError('NOT_FOUND', `there is no ${what} called ${name}`)
}

async function optional(
  wanted: Kind | undefined,
  kind: Kind,
  look: () => Promise<Description | undefined>,
): Promise<Description | undefined> {
  return wanted === undefined || wanted === kind ? look() : undefined
}

async function describePod(
  session: Session,
  name: string,
  onlyWithSidecar: boolean,
): Promise<Description | undefined> {
  const { cluster, namespace } = session
  const pod = await cluster.get(`/api/v1/namespaces/${namespace}/pods/${name}`).catch(absent)
  if (pod === undefined || (onlyWithSidecar && injected(pod) === undefined && !asks(pod))) return undefined
  const found = await withSidecar(cluster, pod)
  const [{ pods, unasked }, events] = await Promise.all([
    connectionsOf(cluster, [found]),
    eventsIn(cluster, namespace, { uid: found.uid }),
  ])
  const [answer] = pods
  if (answer === undefined) return undefined
  for (const reason of unasked) session.terminal.note(`told by conditions and events: ${reason}`)
  const nowMs = Date.now()
  return { text: podText(found, answer, nowMs) + eventsText(events, nowMs), data: { ...answer, events } }
}

async function describeService(session: Session, name: string): Promise<Description | undefined> {
  const { cluster } = session
  const [services, endpoints] = await Promise.all([servicesIn(cluster), endpointsIn(cluster)])
  const named = services.filter((one) => one.name === name || one.object.metadata.name === name)
  const service = named.find(({ namespace }) => namespace === session.namespace) ?? named[0]
  if (service === undefined) return undefined
  const serving = endpoints.filter((one) => one.services.includes(service.name))
  const clients = await clientsOf(session, (pod) => asksFor(pod, service.name), service.name)
  return {
    text: serviceText(service, { endpoints: serving, clients }, Date.now()),
    data: { service: service.object, endpoints: serving.map(({ object }) => object), clients },
  }
}

async function describeEndpoint(session: Session, name: string): Promise<Description | undefined> {
  const endpoints = await endpointsIn(session.cluster)
  const endpoint = endpoints.find((one) => one.name === name || one.object.metadata.name === name)
  if (endpoint === undefined) return undefined
  const clients = await clientsOf(session, (pod) => endpoint.services.some((one) => asksFor(pod, one)))
  const own = clients.filter((client) => client.endpoint === endpoint.name)
  return { text: endpointText(endpoint, own, Date.now()), data: { endpoint: endpoint.object, clients: own } }
}

/** Pods of all namespaces that ask for it, with what their sidecars say of it. */
async function clientsOf(
  { cluster }: Session,
  wanted: (pod: InjectedPod) => boolean,
  service?: string,
): Promise<readonly Client[]> {
  const pods = (await podsIn(cluster, undefined)).flatMap((pod) => injected(pod) ?? []).filter(wanted)
  const asked = await inParallel(pods, 8, async (pod) => (await connectionsOf(cluster, [pod])).pods)
  return asked.flat().flatMap(({ namespace, pod, status, error }): readonly Client[] => {
    const found = connectionsIn(status).filter(
      (one) => service === undefined || textAt(one, 'networkService') === service,
    )
    if (found.length === 0)
      return [{ namespace, pod, state: error || 'UNKNOWN', endpoint: '', addresses: [] }]
    return found.map((one) => ({
      namespace,
      pod,
      state: textAt(one, 'state'),
      endpoint: textAt(one, 'endpoint'),
      addresses: listAt(one, 'addresses').map(String),
    }))
  })
}

function asksFor({ services }: InjectedPod, service: string): boolean {
  try {
    return parseNsUrls(services).some(({ networkService }) => networkService === service)
  } catch {
    return false
  }
}

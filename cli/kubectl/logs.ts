import type { Command } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Item } from '../cluster/cluster.ts'
import { textAt } from '../cluster/fields.ts'
import { installationOf, partNames } from '../cluster/installation.ts'
import { containersOf, injected, restartsOf } from '../cluster/pods.ts'
import { inParallel } from '../cluster/in-parallel.ts'
import type { Context } from '../commands/context.ts'
import { prefixed } from '../output/prefixed.ts'
import { commonOptions, inCluster, splitName, type CommonOptions, type Session } from './options.ts'

interface Given extends CommonOptions {
  readonly container?: string
  readonly node?: string
  readonly follow?: boolean
  readonly previous?: boolean
  readonly since?: string
  readonly tail?: string
}

/** One container's log. */
interface Log {
  readonly namespace: string
  readonly pod: string
  readonly container: string
}

/** `kubectl nsm logs`. */
export function logsCommand(program: Command, context: Context): void {
  commonOptions(program.command('logs'))
    .description(`show the log of a pod's sidecar, or of a part on all nodes: ${partNames.join(', ')}`)
    .argument('<name>', 'part, or pod; pod/NAME where a pod is called like a part')
    .option('-c, --container <container>', 'another container')
    .option('-f, --follow', 'go on with what comes')
    .option('-p, --previous', 'of the container that ran before, where it was restarted')
    .option('--node <node>', 'only the part on this node')
    .option('--since <duration>', 'not older than this, as 90s, 5m or 2h')
    .option('--tail <lines>', 'only the last lines of each')
    .action(async (word: string, given: Given, command: Command) => {
      const query = queryOf(given, command)
      await inCluster(context, given, async (session) => {
        const logs = await logsOf(session, word, given)
        await showAll(session, logs, query)
      })
    })
}

function queryOf({ follow, previous, since, tail }: Given, command: Command): string {
  const query = new URLSearchParams()
  if (follow === true) query.set('follow', 'true')
  if (previous === true) query.set('previous', 'true')
  if (since !== undefined) {
    const [, number, unit = ''] = /^(\d{1,6})([smh])$/.exec(since) ?? []
    if (number === undefined) command.error(`error: --since must be like 90s, 5m or 2h, not ${since}`)
    query.set('sinceSeconds', String(Math.max(1, Number(number) * (seconds[unit] ?? 1))))
  }
  if (tail !== undefined) {
    if (!/^\d{1,9}$/.test(tail)) command.error(`error: --tail must be a number of lines, not ${tail}`)
    query.set('tailLines', tail)
  }
  return query.toString()
}

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 }

async function logsOf(session: Session, word: string, given: Given): Promise<readonly Log[]> {
  const part = partNames.find((name) => name === word)
  if (part === undefined) return [await podLog(session, word, given.container)]
  const { parts } = await installationOf(session.cluster)
  const pods = parts.filter(({ name }) => name === part).flatMap((one) => one.pods)
  const there = pods.filter(
    (pod) => given.node === undefined || textAt(pod, 'spec', 'nodeName') === given.node,
  )
  const where = given.node === undefined ? 'in this cluster' : `on node ${given.node}`
  if (there.length === 0)
    throw new NsmError('NOT_FOUND', `no pod of ${part} runs ${where}; \`kubectl nsm check\` shows the parts`)
  const wanted = given.previous === true ? there.filter((pod) => restartsOf(pod) > 0) : there
  if (wanted.length === 0)
    throw new NsmError('NOT_FOUND', `no pod of ${part} ${where} was restarted: leave out --previous`)
  return wanted.map((pod) => logOf(pod, given.container ?? textAt(pod, 'spec', 'containers', 0, 'name')))
}

async function podLog({ cluster, namespace }: Session, word: string, container?: string): Promise<Log> {
  const { before = namespace, name } = splitName(word)
  const within = before === 'pod' ? namespace : before
  const pod = await cluster.get(`/api/v1/namespaces/${within}/pods/${name}`).catch((reason: unknown) => {
    const err = NsmError.from(reason)
    if (err.code !== 'NOT_FOUND') throw err
    throw new NsmError(
      'NOT_FOUND',
      `there is no pod ${within}/${name}, and no such part; parts are ${partNames.join(', ')}`,
    )
  })
  const chosen = container ?? injected(pod)?.container
  if (chosen !== undefined) return logOf(pod, chosen)
  const names = containersOf(pod).map((one) => textAt(one, 'name'))
  throw new NsmError(
    'NOT_FOUND',
    `pod ${within}/${name} has no sidecar; say which container with -c: ${names.join(', ')}`,
  )
}

function logOf({ metadata: { namespace = '', name = '' } }: Item, container: string): Log {
  return { namespace, pod: name, container }
}

/** Several logs have the pod before each line. Followed ones come as they grow, others one after the other; what one pod can't show hides no other's. */
async function showAll(session: Session, logs: readonly Log[], query: string): Promise<void> {
  const width = Math.max(...logs.map(({ pod }) => pod.length))
  const follows = query.includes('follow=')
  const faults = await inParallel(logs, follows ? logs.length : 1, async (log) => {
    const before = logs.length === 1 ? '' : `${log.pod.padEnd(width)} `
    return show(session, log, { query, before }).then(
      () => undefined,
      (reason: unknown) => {
        if (logs.length === 1) throw reason
        session.terminal.note(`${log.pod}: ${NsmError.from(reason).message}`)
        return reason
      },
    )
  })
  if (faults.some((fault) => fault !== undefined)) session.exit(1)
}

async function show(
  { cluster, signal, terminal }: Session,
  { namespace, pod, container }: Log,
  { query, before }: { readonly query: string; readonly before: string },
): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}/log?container=${container}&${query}`
  const { push, flush } = prefixed(before, (text) => terminal.out(text))
  try {
    for await (const chunk of cluster.stream(path, signal)) push(chunk)
  } catch (reason) {
    if (!signal.aborted) throw reason
  } finally {
    flush()
  }
}

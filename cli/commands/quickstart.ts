import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { setTimeout as delay } from 'node:timers/promises'
import { NsmError } from '@nsm/sdk/errors.js'
import { isObject } from '../manifest/shape.ts'
import { objectsOf } from '../mesh/apply.ts'
import { controlOf, type Control } from '../mesh/control-client.ts'
import type { PodConnections } from '../mesh/connections.ts'
import { connectionsIn, connectionsTable } from '../output/connections.ts'
import { podsTable } from '../output/objects.ts'
import type { Context } from './context.ts'
import { startDaemon } from './daemon-process.ts'
import { outputOf } from './exec.ts'
import { readManifests } from './files.ts'
import { meshOptionsOf, withMeshOptions, type UpOptions } from './up.ts'

const readyTimeoutMs = 90_000
const pollMs = 100

/** `nsm quickstart FOLDER`: starts a mesh on the folder's YAML, shows that its connections carry packets, and stays up. */
export function quickstartCommand(program: Command, context: Context): void {
  withMeshOptions(program.command('quickstart'))
    .description('start a local mesh on an example and show that its connections carry packets')
    .argument('[folder]', 'folder with YAML files', 'examples/quickstart')
    .option('--once', 'check, then end: exit code 0, or 1 with the reason')
    .action(async (folder: string, given: UpOptions & { once?: boolean }) => {
      await quickstart(context, folder, given)
    })
}

async function quickstart(
  context: Context,
  folder: string,
  given: UpOptions & { once?: boolean },
): Promise<void> {
  const { terminal, program, signal } = context
  const files = await readManifests(folder)
  objectsOf(files)
  const options = meshOptionsOf(given)
  const mesh = await startDaemon(options, { program, detached: false, signal }, (text) => terminal.step(text))
  try {
    const control = controlOf(options.name)
    const ended = mesh.ended.then(() => {
      throw new NsmError('CANCELLED', 'the mesh has ended')
    })
    const clients = await Promise.race([show(context, control, files), ended])
    if (given.once === true) return
    hints(context, options.name, clients)
    await mesh.ended
  } finally {
    await mesh.stop()
  }
}

async function show(
  { terminal, signal }: Context,
  control: Control,
  files: Parameters<typeof objectsOf>[0],
): Promise<readonly PodConnections[]> {
  for (const { object, result, message } of await control('apply', { files })) {
    if (result === 'failed') throw new NsmError('ABORTED', `${object}: ${message}`)
    terminal.step(`${object} ${result}`)
  }
  const clients = await connected(control, AbortSignal.any([signal, AbortSignal.timeout(readyTimeoutMs)]))
  terminal.title('Pods')
  terminal.out(podsTable(await control('pods', undefined), Date.now()))
  terminal.title('Connections')
  terminal.out(connectionsTable(clients, Date.now()))
  for (const client of clients) await showClient(terminal, control, client)
  return clients
}

/** Waits until all pods are ready; answers those with connections. */
async function connected(control: Control, signal: AbortSignal): Promise<readonly PodConnections[]> {
  for (;;) {
    const pods = await control('pods', undefined)
    const deployments = await control('deployments', undefined)
    const complete = deployments.every(({ ready, replicas }) => ready === replicas)
    const late = pods.filter(({ ready, phase }) => !ready && phase !== 'Succeeded')
    if (complete && pods.length > 0 && late.length === 0) return control('connections', {})
    if (signal.aborted) {
      const reasons = [
        ...late.map(({ namespace, name, message }) => `pod ${namespace}/${name}: ${message}`),
        ...deployments
          .filter(({ message }) => message !== '')
          .map(({ name, message }) => `deployment ${name}: ${message}`),
      ]
      throw new NsmError('DEADLINE_EXCEEDED', `not everything became ready: ${reasons.join('; ')}`)
    }
    await delay(pollMs)
  }
}

async function showClient(
  terminal: Context['terminal'],
  control: Control,
  { namespace, pod, status, error }: PodConnections,
): Promise<void> {
  if (error !== '') throw new NsmError('UNAVAILABLE', `pod ${namespace}/${pod}: ${error}`)
  const target = await control('exec', { namespace, pod })
  const inPod = async (...argv: string[]): Promise<string> => {
    const { code, text } = await outputOf(target, argv)
    if (code !== 0)
      throw new NsmError('UNAVAILABLE', `pod ${namespace}/${pod}: \`${argv.join(' ')}\` failed:\n${text}`)
    return text
  }
  for (const connection of connectionsIn(status)) {
    const { address, device } = farEnd(connection)
    terminal.title(`${pod}: ping ${address} over ${device}`)
    terminal.out(await inPod('ping', '-c', '3', '-i', '0.2', '-W', '2', '-I', device, address))
  }
  const { before, now } = await control('routes', { namespace, pod })
  terminal.title(`${pod}: routes before and after; those of eth0 are untouched`)
  for (const route of now) terminal.out(`${before.includes(route) ? '  ' : '+ '}${route}\n`)
  const lost = before.filter((route) => !now.includes(route))
  if (lost.length > 0)
    throw new NsmError('ABORTED', `pod ${namespace}/${pod} has lost routes: ${lost.join('; ')}`)
}

function farEnd(connection: Readonly<Record<string, unknown>>): { address: string; device: string } {
  const { endpointAddresses, interface: device } = connection
  const first: unknown = Array.isArray(endpointAddresses) ? endpointAddresses[0] : undefined
  if (typeof first !== 'string' || typeof device !== 'string' || !isObject(connection))
    throw new NsmError(
      'UNAVAILABLE',
      `connection ${String(connection['id'])} has no interface or address yet`,
    )
  return { address: first.split('/')[0] ?? first, device }
}

function hints({ terminal }: Context, name: string, [client]: readonly PodConnections[]): void {
  const tool = existsSync('nsm') ? './nsm' : 'nsm'
  const flag = name === 'local' ? '' : ` --name ${name}`
  const pod = client?.pod ?? 'POD'
  const lines = [
    [`${tool} status${flag}`, 'every connection, and the parts of the mesh'],
    [`${tool} status${flag} ${pod}`, 'one pod, hop by hop'],
    [`${tool} get pods${flag}`, ''],
    [`${tool} exec${flag} ${pod} -- ip route`, ''],
    [`${tool} logs${flag} ${pod} -c sidecar`, ''],
    [`${tool} logs${flag} nsmgr-node-1`, ''],
  ] as const
  const width = Math.max(...lines.map(([line]) => line.length))
  terminal.title('In another terminal')
  for (const [line, why] of lines) terminal.out(`  ${`${line.padEnd(width)}   ${why}`.trimEnd()}\n`)
  terminal.out('\nCtrl-C ends the mesh and leaves nothing behind.\n')
}

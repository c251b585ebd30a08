import type { ControlApi } from '../mesh/control-api.ts'
import type { Outcome } from '../mesh/apply.ts'
import { age } from './age.ts'
import { table } from './table.ts'

/** `kubectl get pods -o wide`, in short. */
export function podsTable(pods: ControlApi['pods']['output'], nowMs: number): string {
  return table(
    ['NAMESPACE', 'NAME', 'READY', 'STATUS', 'RESTARTS', 'AGE', 'IP', 'NODE', 'MESSAGE'],
    pods.map((pod) => {
      const lasting = pod.containers.filter(({ kind }) => kind !== 'init')
      const restarts = pod.containers.reduce((sum, container) => sum + container.restarts, 0)
      const ready = `${lasting.filter((container) => container.ready).length}/${lasting.length}`
      const since = age(nowMs - pod.startedAtMs)
      return [
        pod.namespace,
        pod.name,
        ready,
        pod.phase,
        String(restarts),
        since,
        pod.ip,
        pod.node,
        messageOf(pod),
      ]
    }),
  )
}

/** A sidecar starts until its connections are up: what it waits for, only its status says. */
function messageOf({ name, message, containers }: ControlApi['pods']['output'][number]): string {
  const waits = containers.some((one) => one.kind === 'sidecar' && message === `${one.name}: starting`)
  return waits ? `${message}, see \`nsm status ${name}\`` : message
}

export function deploymentsTable(deployments: ControlApi['deployments']['output']): string {
  return table(
    ['NAMESPACE', 'NAME', 'READY', 'MESSAGE'],
    deployments.map(({ namespace, name, ready, replicas, message }) => [
      namespace,
      name,
      `${ready}/${replicas}`,
      message,
    ]),
  )
}

export function servicesTable(services: ControlApi['networkservices']['output']): string {
  return table(
    ['NAMESPACE', 'NAME', 'PAYLOAD'],
    services.map(({ namespace, name, payload }) => [namespace, name, payload]),
  )
}

export function partsTable({ parts }: ControlApi['mesh']['output']): string {
  return table(
    ['PART', 'NODE', 'READY', 'STATE', 'RESTARTS', 'MESSAGE'],
    parts.map(({ name, node, ready, state, restarts, reason, message }) => [
      name,
      node || '-',
      ready ? 'yes' : 'no',
      reason || state,
      String(restarts),
      message,
    ]),
  )
}

/** One line per object: `pod demo/client created`, or why it failed. */
export function outcomesText(outcomes: readonly Outcome[]): string {
  return outcomes
    .map(({ object, result, message }) => `${object} ${result}${message === '' ? '' : `: ${message}`}\n`)
    .join('')
}

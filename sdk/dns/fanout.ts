import { setMaxListeners } from 'node:events'
import type { ServerAnswer } from './message.ts'
import type { Question, Upstream } from './upstream.ts'

/** What one parallel question came to. */
export interface FanoutOutcome {
  /** undefined: no server answered at all. */
  readonly answer: ServerAnswer | undefined
  /** Address of the server whose answer it is. */
  readonly winner: string | undefined
}

/** What the resolver knows of one server. */
export interface ServerHealth {
  /** Time-outs and unreachables in a row. */
  failures: number
  lastError: string | undefined
  lastErrorAt: number | undefined
  /** Answers of any kind. */
  answered: number
  /** Answers that were the one to be given. */
  won: number
  /** Time-outs and unreachables, all of them. */
  failed: number
}

/** After so many failures in a row a server is asked still, but nobody waits for it until it answers again. */
const deadAfter = 2

/**
 * Asks all servers at once. The first answer with data wins. Otherwise all that are alive are waited for, and the best is taken:
 * the name exists without such data, then a server's failure, then NXDOMAIN, which holds only when all who may know said so.
 * One that refuses says that it does not know such names: it counts only when nobody else answers.
 */
export async function fanout(
  servers: readonly { readonly upstream: Upstream; readonly health: ServerHealth }[],
  question: Question,
  now: () => number = Date.now,
): Promise<FanoutOutcome> {
  const [only] = servers
  if (only !== undefined && servers.length === 1) return alone(only, question, now)
  const stop = new AbortController()
  // One listener a server; Node would warn of a leak from eleven on.
  setMaxListeners(0, stop.signal)
  const awaited = new Set(servers.filter(({ health }) => health.failures < deadAfter))
  if (awaited.size === 0) for (const server of servers) awaited.add(server)

  try {
    return await new Promise<FanoutOutcome>((resolve) => {
      let best: FanoutOutcome = { answer: undefined, winner: undefined }
      const leave = (server: (typeof servers)[number]): void => {
        awaited.delete(server)
        if (awaited.size === 0) resolve(best)
      }
      const take = async (server: (typeof servers)[number]): Promise<void> => {
        const { upstream, health } = server
        try {
          const answer = await upstream.ask(question, stop.signal)
          heard(health, answer, now)
          if (worth(answer) > worth(best.answer)) best = { answer, winner: upstream.address }
          if (worth(answer) === useful) resolve(best)
        } catch (reason) {
          if (!stop.signal.aborted) missed(health, reason, now)
        }
        leave(server)
      }
      for (const server of servers) void take(server)
      if (servers.length === 0) resolve(best)
    })
  } finally {
    // A server that nobody waited for gets its full time, so that it can show that it lives again.
    if (servers.every(({ health }) => health.failures < deadAfter))
      stop.abort(new Error('another server answered'))
  }
}

type Server = Parameters<typeof fanout>[0][number]

/** The commonest case, without what a race needs. */
async function alone(
  { upstream, health }: Server,
  question: Question,
  now: () => number,
): Promise<FanoutOutcome> {
  try {
    const answer = await upstream.ask(question)
    heard(health, answer, now)
    return { answer, winner: upstream.address }
  } catch (reason) {
    missed(health, reason, now)
    return { answer: undefined, winner: undefined }
  }
}

function heard(health: ServerHealth, answer: ServerAnswer, now: () => number): void {
  health.failures = 0
  health.answered += 1
  if (worth(answer) === failing) note(health, `answered ${answer.rcode}`, now())
}

function missed(health: ServerHealth, reason: unknown, now: () => number): void {
  health.failures += 1
  health.failed += 1
  note(health, reason instanceof Error ? reason.message : String(reason), now())
}

const useful = 5
const failing = 3

function worth(answer: ServerAnswer | undefined): number {
  if (answer === undefined) return 0
  if (answer.rcode === 'NOERROR') return answer.answers.length > 0 ? useful : 4
  if (answer.rcode === 'NXDOMAIN') return 2
  return answer.rcode === 'REFUSED' ? 1 : failing
}

function note(health: ServerHealth, error: string, at: number): void {
  health.lastError = error
  health.lastErrorAt = at
}

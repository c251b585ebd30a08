import type { Element } from '@nsm/sdk/chain.js'
import { withCancel } from '@nsm/sdk/ctx.js'
import { NsmError } from '@nsm/sdk/errors.js'
import t from 'tap'
import { recording } from '../../kit/elements.ts'
import { ask, mesh, within } from '../../kit/mesh.ts'
import { until } from '../../kit/until.ts'

/** Calls `reached`, then goes on when the caller gives up: with the call, or with its answer. */
function slow(reached: () => void, afterwards: boolean): Element {
  const untilAbort = async (signal: AbortSignal): Promise<void> => {
    reached()
    if (signal.aborted) return
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
  }
  return {
    name: 'slow',
    async request(ctx, req, next) {
      if (!afterwards) {
        await untilAbort(ctx.signal)
        throw NsmError.from(ctx.signal.reason)
      }
      const conn = await next.request(ctx, req)
      await untilAbort(ctx.signal)
      return conn
    },
  }
}

for (const when of ['before', 'after'] as const) {
  for (const at of ['nse', 'forwarder', 'nsmgr']) {
    t.test(`cancelled at ${at}, ${when} those behind have answered: nothing is left`, async (t) => {
      const m = await mesh(t)
      let reached = false
      const seen = recording()
      const elements = (name: string): Element[] => [
        ...(name === at ? [slow(() => (reached = true), when === 'after')] : []),
        ...(name === 'nse' ? [seen.element] : []),
      ]
      const servers = [
        m.hop('nse', undefined, { elements: elements('nse') }),
        m.hop('forwarder', 'nse', { elements: elements('forwarder') }),
        m.hop('nsmgr', 'forwarder', { elements: elements('nsmgr') }),
      ]
      const client = m.client('nsmgr')
      await withCancel(within(), async (ctx, cancel) => {
        const answer = client.request(ctx, ask())
        answer.catch(() => undefined)
        await until('the call is there', () => reached)
        cancel(new NsmError('CANCELLED', 'by the test'))
        await t.rejects(answer, { code: 'CANCELLED' })
      })
      await until('what was begun is closed', () => seen.closes.length === seen.requests.length)
      await until('all have forgotten it', () => {
        const known = servers.some(({ counts }) => counts().up + counts().down > 0)
        return !known && m.network.sessions === 0
      })
      t.pass('nothing is left')
    })
  }
}

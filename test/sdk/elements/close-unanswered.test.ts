import { background } from '@nsm/sdk/ctx.js'
import { NsmError, type Code } from '@nsm/sdk/errors.js'
import type { Dial } from '@nsm/sdk/transport/remote.js'
import t from 'tap'
import { ask, mesh, within } from '../../kit/mesh.ts'
import { recording } from '../../kit/elements.ts'

/** A dialler whose first Request arrives, while its answer is lost with `code`. */
function losing(dial: Dial, code: Code): Dial {
  let isFirst = true
  return async (ctx, url) => {
    const remote = await dial(ctx, url)
    return {
      ...remote,
      async request(inner, req) {
        const answer = await remote.request(inner, req)
        if (!isFirst) return answer
        isFirst = false
        throw new NsmError(code, 'the answer is lost')
      },
    }
  }
}

for (const code of ['CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE'] as const) {
  t.test(`a connection whose answer is lost (${code}) does not stay at the next hop`, async (t) => {
    const m = await mesh(t)
    const served = recording()
    const hop = m.hop('nsmgr', undefined, { elements: [served.element] })
    const dial = losing(m.network.dial(m.ca.svid('/ns/a/pod/client'), m.tokens), code)
    const client = m.client('nsmgr', { dial })
    await t.rejects(client.request(within(), ask()), { code })
    t.equal(served.closes.length, 1)
    t.equal(hop.counts().up, 0)
    await client.request(within(), ask())
    t.equal(hop.counts().up, 1, 'the next try makes it anew')
  })
}

t.test('a refresh whose answer is lost leaves the connection as it is', async (t) => {
  const m = await mesh(t)
  const served = recording()
  const hop = m.hop('nsmgr', undefined, { elements: [served.element] })
  const plain = m.network.dial(m.ca.svid('/ns/a/pod/client'), m.tokens)
  const broken = losing(plain, 'UNAVAILABLE')
  let dial = plain
  const client = m.client('nsmgr', { dial: (ctx, url) => dial(ctx, url) })
  const connection = await client.request(within(), ask())
  dial = broken
  await t.rejects(client.request(within(), { ...ask(), connection }), { code: 'UNAVAILABLE' })
  t.equal(served.closes.length, 0)
  t.equal(hop.counts().up, 1)
})

t.test('a refusal is an answer: nothing is asked and closed', async (t) => {
  const m = await mesh(t)
  const served = recording()
  m.hop('nsmgr', undefined, { elements: [served.element] })
  const dial = losing(m.network.dial(m.ca.svid('/ns/a/pod/client'), m.tokens), 'PERMISSION_DENIED')
  await t.rejects(m.client('nsmgr', { dial }).request({ ...background(), ...within() }, ask()), {
    code: 'PERMISSION_DENIED',
  })
  t.equal(served.closes.length, 0)
})

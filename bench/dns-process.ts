import { createSocket } from 'node:dgram'
import { nameStore } from '@nsm/sdk/dns/name-store.js'
import { resolver } from '@nsm/sdk/dns/resolver.js'
import { dnsServer } from '@nsm/sdk/dns/server.js'

/** A process of the DNS bench: `upstream ADDRESS…` answers every name below bench.test, `silent ADDRESS` says nothing, `embedded ADDRESS SERVER…` resolves from those. */
const [role, ...addresses] = process.argv.slice(2)
if (role === 'upstream') await upstreams(addresses)
else if (role === 'silent') createSocket('udp4').bind(53, addresses[0])
else await embedded(addresses)
process.stdout.write('ready\n')

async function upstreams(all: readonly string[]): Promise<void> {
  // No time to live: the cache of whoever asks has no part in it.
  const store = nameStore({ zones: ['bench.test'], ttlSeconds: 0 })
  for (let i = 0; i < 1_000; i += 1) store.set(String(i), [`n${i}.bench.test`], [`10.0.${i >> 8}.${i & 255}`])
  for (const address of all)
    await dnsServer(address, 53, async (query) => {
      const reply = store.answer(query)
      if (reply === undefined) throw new Error('not a name of the bench')
      return reply
    })
}

async function embedded([address = '127.0.0.1', ...servers]: readonly string[]): Promise<void> {
  const view = { zones: [{ domain: '.', servers }], search: [] }
  const names = resolver(view, { port: 53, timeoutMs: 2_000, searchBelowDots: 0 })
  await dnsServer(address, 53, async (query, signal) => (await names.resolve(query, signal)).reply)
}

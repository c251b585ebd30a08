import { ownNetnsUrl } from '@nsm/api/constants.js'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { native } from '@nsm/native/native.js'
import { connectUnix, listenUnix } from '@nsm/native/unix-socket.js'
import { clientChain } from '@nsm/sdk/chains/client.js'
import { systemClock } from '@nsm/sdk/clock.js'
import { background, withTimeout } from '@nsm/sdk/ctx.js'
import { kernelClient } from '@nsm/sdk/elements/kernel-client.js'
import { sendFdClient } from '@nsm/sdk/elements/send-fd-client.js'
import { silent } from '@nsm/sdk/log.js'
import { openIdentity } from '@nsm/sdk/process/identity.js'
import { tokenGenerator } from '@nsm/sdk/token-generator.js'
import { dialer } from '@nsm/sdk/transport/client.js'

/**
 * Runs inside a pod of a mesh that is tested: connects to a network service and closes, again and again.
 *   SERVICE ROUNDS ATONCE    tells the addresses that the last connections had, as JSON
 */
const [networkService = '', rounds = '1', atOnce = '1'] = process.argv.slice(2)

const source = await openIdentity('unix:///run/spire/sockets/agent.sock', silent, AbortSignal.timeout(10_000))
const sessions = dialer({
  source,
  tokens: tokenGenerator({ maxLifetimeMs: 600_000, clock: systemClock }),
  unix: { connectUnix, listenUnix },
  dialTimeoutMs: 10_000,
  log: silent,
})
const service = clientChain({
  name: 'churn',
  dial: sessions.dial,
  url: 'unix:///var/lib/networkservicemesh/nsm.io.sock',
  authorize: true,
  elements: [kernelClient({ netnsUrl: ownNetnsUrl }), sendFdClient(native)],
})

async function connectAndClose(id: string, device: string): Promise<readonly string[]> {
  const request = NetworkServiceRequest.fromPartial({
    connection: { id, networkService },
    mechanismPreferences: [{ cls: 'LOCAL', type: 'KERNEL', parameters: { name: device } }],
  })
  return withTimeout(background(), 30_000, async (ctx) => {
    const conn = await service.request(ctx, request)
    await service.close(ctx, conn)
    return conn.context?.ipContext?.srcIpAddrs ?? []
  })
}

let last: readonly (readonly string[])[] = []
for (let round = 0; round < Number(rounds); round++)
  last = await Promise.all(
    Array.from({ length: Number(atOnce) }, (_, i) =>
      connectAndClose(`churn-${process.pid}-${round}-${i}`, `churn-${i}`),
    ),
  )
process.stdout.write(`${JSON.stringify(last.flat())}\n`, () => process.exit(0))

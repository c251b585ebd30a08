import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { NetworkServiceRequest } from '@nsm/api/gen/networkservice.js'
import { native } from '@nsm/native/native.js'
import { chain, connectionOf, type Element } from '@nsm/sdk/chain.js'
import { recvFdServer } from '@nsm/sdk/elements/recv-fd-server.js'
import t, { type Test } from 'tap'
import { fdPath } from '../../kit/netns.ts'
import { ctxFor, newNetns, openCount, unixPair } from '../../kit/transport.ts'

/** Passes bytes on, but no descriptors: to the server, it is the peer. */
const relay = `
const { connect, createServer } = require('node:net')
const [, server, path] = process.argv
const handle = (client) => {
  const socket = connect(server)
  for (const end of [client, socket]) end.on('error', () => { client.destroy(); socket.destroy() })
  client.pipe(socket).pipe(client)
}
createServer(handle).listen(path, () => console.log('ready'))
`

async function relayIn(t: Test, netnsFd: number, url: string): Promise<string> {
  const path = `${url.slice('unix://'.length)}.relay`
  const args = [process.execPath, '-e', relay, url.slice('unix://'.length), path]
  const child = spawn('nsenter', [`--net=${fdPath(netnsFd)}`, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await once(child.stdout, 'data')
  return `unix://${path}`
}

const answering: Element = {
  name: 'answering',
  async request(_ctx, req) {
    const conn = connectionOf(req)
    const [mechanism] = req.mechanismPreferences
    return { ...conn, mechanism, labels: { seen: mechanism?.parameters['inodeURL'] ?? '' } }
  },
}

function ask(inodeURL: string): NetworkServiceRequest {
  const mechanismPreferences = [{ cls: 'LOCAL', type: 'KERNEL', parameters: { inodeURL } }]
  return NetworkServiceRequest.fromPartial({ connection: { id: 'a' }, mechanismPreferences })
}

t.test('the kernel names the namespace of a caller that passed no descriptor', async (t) => {
  const [netns, other] = [await newNetns(t), await newNetns(t)]
  const networkService = chain([recvFdServer({ native, ownNetnsOnly: () => true }), answering])
  const { dialer, url } = await unixPair(t, { services: { networkService } })
  const remote = await dialer.dial(ctxFor(10_000), await relayIn(t, netns.fd, url))
  const conn = await remote.request(ctxFor(5000), ask(netns.inodeUrl))
  t.match(conn.labels['seen'], /^file:\/\/\/proc\/\d+\/fd\/\d+:\d+$/)
  t.equal(conn.mechanism?.parameters['inodeURL'], netns.inodeUrl)
  t.equal(openCount(netns.fd), 1, 'nobody holds it')
  await t.rejects(remote.request(ctxFor(5000), ask(other.inodeUrl)), {
    code: 'PERMISSION_DENIED',
    message: `mechanism parameter inodeURL ${other.inodeUrl} is not the caller's own network namespace, ${netns.inodeUrl}`,
  })
  await t.rejects(remote.request(ctxFor(5000), ask(other.fileUrl)), { code: 'PERMISSION_DENIED' })
})

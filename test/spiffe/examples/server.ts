import net from 'node:net'
import { memberOf } from '@nsm/spiffe/authorise.js'
import { secureServerSocket } from '@nsm/spiffe/tls.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'

const source = await x509Source()
const authorise = memberOf('example.org')

async function greet(raw: net.Socket): Promise<void> {
  const { socket, spiffeId } = await secureServerSocket(raw, source, authorise, AbortSignal.timeout(5_000))
  socket.end(`hello ${spiffeId.path}\n`)
}

const server = net.createServer((raw) => {
  greet(raw).catch((err: Error) => process.stderr.write(`refused: ${err.message}\n`))
})
server.listen(process.argv[2], () => process.stdout.write(`${source.current.svids[0].id} listens\n`))

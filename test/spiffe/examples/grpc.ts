import net from 'node:net'
import { Client, Server, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js'
import { anyId } from '@nsm/spiffe/authorise.js'
import { channelCredentials, peerId, serveSecure } from '@nsm/spiffe/credentials.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'

const source = await x509Source()
const path = process.argv[2] ?? ''
const same = (bytes: Buffer): Buffer => bytes

const server = new Server()
server.addService(
  {
    Greet: {
      path: '/example.Greeter/Greet',
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  },
  {
    Greet(call: ServerUnaryCall<Buffer, Buffer>, answer: sendUnaryData<Buffer>) {
      answer(null, Buffer.from(`hello ${peerId(call)?.id ?? 'stranger'}\n`))
    },
  },
)
const listener = net.createServer().listen(path)
const stop = serveSecure({ server, listener, source, authorise: anyId })

const client = new Client(`unix:${path}`, channelCredentials(source, anyId))
client.makeUnaryRequest('/example.Greeter/Greet', same, same, Buffer.alloc(0), (err, answer) => {
  process.stdout.write(err?.message ?? answer ?? '')
  stop()
  client.close()
  listener.close()
  server.forceShutdown()
  source.close()
})

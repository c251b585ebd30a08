import net from 'node:net'
import { oneOf } from '@nsm/spiffe/authorise.js'
import { secureClientSocket } from '@nsm/spiffe/tls.js'
import { x509Source } from '@nsm/spiffe/workload-api.js'

const [, , address = '', serverId = ''] = process.argv
const source = await x509Source({ signal: AbortSignal.timeout(10_000) })
const raw = net.connect(address)
const { socket } = await secureClientSocket(raw, source, oneOf(serverId), AbortSignal.timeout(5_000))
socket.pipe(process.stdout)
socket.on('close', () => source.close())

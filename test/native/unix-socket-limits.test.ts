import { spawn } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { listenUnix } from '@nsm/native/unix-socket.js'
import t from 'tap'

/** Connects, reads 64 bytes with descriptors, and says how many bytes came and whether descriptors were lost. */
const receiver = `
  import(process.argv[1]).then(async ({ connectUnix }) => {
    const socket = await connectUnix(process.argv[2])
    let bytes = 0
    socket.on('data', (part) => {
      bytes += part.length
      if (bytes < 64) return
      console.log(JSON.stringify({ bytes, lost: socket.droppedDescriptors > 0 }))
      socket.destroy()
    })
    socket.write('go')
  })`

t.test('a process without free descriptors loses those sent to it, and nothing else', async (t) => {
  const folder = t.testdir({})
  const fds = Array.from({ length: 64 }, (_, n) => {
    writeFileSync(join(folder, `${n}`), '')
    return openSync(join(folder, `${n}`), 'r')
  })
  t.teardown(() => fds.forEach((fd) => closeSync(fd)))
  const path = join(folder, 's')
  const listener = await listenUnix(path, {}, (socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      fds.forEach((fd) => socket.send(fd))
      socket.write(Buffer.alloc(64))
    })
  })
  t.teardown(() => listener.close())
  const program = import.meta.resolve('@nsm/native/unix-socket.js')
  const limited = 'ulimit -n 48 && exec "$0" -e "$1" "$2" "$3"'
  const child = spawn('bash', ['-c', limited, process.execPath, receiver, program, path])
  t.teardown(() => child.kill('SIGKILL'))
  const said: Buffer[] = []
  for await (const part of child.stdout) said.push(part as Buffer)
  t.same(JSON.parse(Buffer.concat(said).toString()), { bytes: 64, lost: true })
})

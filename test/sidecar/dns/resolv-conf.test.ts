import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openResolvConf } from '@nsm/sidecar/dns/resolv-conf-file.js'
import { formatResolvConf, originalOf, paddedOriginal, parseResolvConf } from '@nsm/sdk/dns/resolv-conf.js'
import fc from 'fast-check'
import t, { type Test } from 'tap'

const cluster = `# from the kubelet
nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local.
options ndots:5 edns0
`

async function file(t: Test, content: string | Buffer): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'resolv-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'resolv.conf'), content)
  return join(folder, 'resolv.conf')
}

const local = {
  nameservers: ['127.0.0.1'],
  search: ['default.svc.cluster.local', 'db.test'],
  options: ['ndots:5'],
}

t.test('reads what glibc reads', async (t) => {
  t.same(parseResolvConf(`${cluster}nameserver fd00::a\nsearch last.wins\n`), {
    nameservers: ['10.96.0.10', 'fd00::a'],
    search: ['last.wins'],
    options: ['ndots:5', 'edns0'],
  })
})

t.test('takes over, then gives every byte back', async (t) => {
  const path = await file(t, cluster)
  const conf = await openResolvConf(path)
  t.same(conf.original.nameservers, ['10.96.0.10'])
  await conf.takeOver(local)
  t.same(parseResolvConf(await readFile(path, 'utf8')), local)
  await conf.takeOver({ ...local, search: [] })
  await conf.restore()
  t.equal(await readFile(path, 'utf8'), cluster)
})

t.test('what a killed process left is put right at the next start', async (t) => {
  const path = await file(t, formatResolvConf(local, Buffer.from(cluster)))
  const conf = await openResolvConf(path)
  t.equal(await readFile(path, 'utf8'), cluster)
  t.same(conf.original.nameservers, ['10.96.0.10'])
})

t.test('a kill between the write and the cut loses nothing', async (t) => {
  const original = Buffer.from(cluster)
  const ours = formatResolvConf(local, original)
  const long = Buffer.concat([ours, Buffer.from('nameserver 9.9.9.9\n')])
  t.same(originalOf(long), original, 'taking over')
  t.same(originalOf(paddedOriginal(original, ours.length)), original, 'restoring')
  const path = await file(t, paddedOriginal(original, ours.length))
  await openResolvConf(path)
  t.equal(await readFile(path, 'utf8'), cluster)
})

t.test('any bytes survive', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), (bytes) => {
      const original = Buffer.from(bytes)
      const ours = formatResolvConf(local, original)
      t.ok(originalOf(ours)?.equals(original))
      const padded = paddedOriginal(original, ours.length)
      t.ok((originalOf(padded) ?? padded).equals(original))
    }),
    { numRuns: 200 },
  )
})

t.test('lines stay short enough for musl', async (t) => {
  const text = formatResolvConf(local, Buffer.alloc(4_000, 'x')).toString()
  t.ok(text.split('\n').every((line) => line.length < 250))
})

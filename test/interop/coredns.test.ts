import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildCoreDns } from '../kit/coredns.ts'

t.setTimeout(300_000)
const golden = new URL('../../sidecar/dns/golden/', import.meta.url)
const coredns = await buildCoreDns(t)
const needsRoot = process.getuid?.() === 0 ? undefined : 'needs root for a network namespace of its own'
const skip = needsRoot ?? ('missing' in coredns ? coredns.missing : undefined)

/** Starts CoreDNS alone in a network namespace; answers what it said once it serves. */
async function serving(t: Test, binary: string, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'corefile-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await writeFile(join(folder, 'Corefile'), text)
  const line = `ip link set lo up && exec ${binary} -conf ${folder}/Corefile`
  const child = spawn('unshare', ['--net', 'sh', '-c', line], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  return new Promise((resolve, reject) => {
    const hear = (chunk: Buffer): void => {
      said += chunk.toString()
      if (said.includes('CoreDNS-')) resolve(said)
    }
    child.stdout.on('data', hear)
    child.stderr.on('data', hear)
    child.once('exit', () => reject(new Error(`it ended: ${said}`)))
  })
}

/** `forward` takes the servers of `fanout`, but none of its options. */
function withForward(text: string): string {
  return text.replaceAll(/fanout (.*) \{\n(?: {8}.*\n)*? {4}\}/g, 'forward $1')
}

for (const name of await readdir(golden))
  t.test(`${name} runs, with forward in place of fanout`, skip === undefined ? {} : { skip }, async (t) => {
    if ('missing' in coredns) return
    const text = await readFile(new URL(name, golden), 'utf8')
    const plain = withForward(text)
    t.notMatch(plain, 'fanout')
    const said = await serving(t, coredns.binary, plain)
    const zones = [...text.matchAll(/^(\S.*) \{$/gm)].flatMap(([, names]) => names?.split(' ') ?? [])
    t.ok(zones.length > 0)
    for (const zone of zones) t.match(said, zone === '.:53' ? '\n.:53\n' : zone.replace(':53', '.:53'), zone)
  })

t.test(
  'a text that it does not understand is told from one that it does',
  skip === undefined ? {} : { skip },
  async (t) => {
    if ('missing' in coredns) return
    await t.rejects(serving(t, coredns.binary, '.:53 {\n  race\n}\n'), { message: /Unknown directive/ })
  },
)

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isAlive, netnsOf, processId } from '@nsm/cli/mesh/processes.js'
import { startSandbox, type Command, type Sandbox, type SandboxOptions } from '@nsm/cli/mesh/runner.js'
import tap, { type Test } from 'tap'
import { runnerProgram } from '../../kit/runner.ts'

const never = new AbortController().signal
const env = { PATH: '/usr/bin:/bin' }

async function sandbox(t: Test, options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
  const made = await startSandbox({ runner: runnerProgram(), hostname: 'pod-a', ...options }, never)
  t.teardown(() => made.close())
  return made
}

/** Runs a shell line and answers what it printed. */
async function shell(box: Sandbox, line: string, more: Partial<Command> = {}): Promise<string> {
  const chunks: Buffer[] = []
  const process = box.run({ argv: ['sh', '-c', line], env, root: { binds: [] }, ...more }, (chunk) =>
    chunks.push(chunk),
  )
  const { code } = await process.ended
  return `${Buffer.concat(chunks).toString().trim()}${code === 0 ? '' : ` [${code}]`}`
}

tap.test('a sandbox has a network, a host name and processes of its own', async (t) => {
  const box = await sandbox(t)
  t.not(box.netns, await netnsOf(process.pid))
  t.equal(
    await shell(
      box,
      'hostname; ls /sys/class/net; ps -o pid= 1 | tr -d " "; cat /sys/class/net/lo/operstate',
    ),
    'pod-a\nlo\n1\nunknown',
  )
})

tap.test('a sandbox may share the network', async (t) => {
  const box = await sandbox(t, { sharesNetwork: true })
  t.equal(box.netns, await netnsOf(process.pid))
})

tap.test('what a container writes stays in it, and each has its own', async (t) => {
  const box = await sandbox(t)
  const mark = `/nsm-test-${process.pid}`
  t.equal(
    await shell(box, `touch ${mark} /run/x /tmp/x && ls ${mark} && ls /run /tmp | grep -c x`),
    `${mark}\n2`,
  )
  t.equal(await shell(box, `ls ${mark} 2>/dev/null; ls /run /tmp | grep -c x`), '0 [1]')
  t.notOk(existsSync(mark))
})

tap.test('folders and files are mounted where they are wanted, writable or not', async (t) => {
  const box = await sandbox(t)
  const folder = mkdtempSync(join(tmpdir(), 'nsm-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'f'), 'from outside')
  const binds = [
    { source: folder, target: '/var/lib/nsm-nowhere/a' },
    { source: folder, target: '/b', readOnly: true },
    { source: join(folder, 'f'), target: '/etc/resolv.conf' },
  ]
  const line =
    'cat /etc/resolv.conf; echo; echo hello > /var/lib/nsm-nowhere/a/g; touch /b/h 2>/dev/null || echo read only'
  t.equal(await shell(box, line, { root: { binds } }), 'from outside\nread only')
  t.equal(readFileSync(join(folder, 'g'), 'utf8'), 'hello\n')
  t.notOk(existsSync('/var/lib/nsm-nowhere'))
  t.match(
    await shell(box, 'true', { root: { binds: [{ source: '/not-there', target: '/a' }] } }),
    /--bind \/not-there: No such file.*\[127\]/,
  )
})

tap.test('user, folder, environment and a root that can not be written', async (t) => {
  const box = await sandbox(t)
  const more = {
    uid: 65_532,
    gid: 65_531,
    workingDir: '/usr',
    noNewPrivileges: true,
    env: { ...env, A: 'b' },
  }
  t.equal(
    await shell(box, 'id -u; id -G; pwd; echo $A; grep NoNewPrivs /proc/self/status | cut -f2', more),
    '65532\n65531\n/usr\nb\n1',
  )
  t.equal(await shell(box, 'touch /x 2>/dev/null || echo no', { root: { binds: [], readOnly: true } }), 'no')
})

tap.test('exit codes, signals and commands that are not there', async (t) => {
  const box = await sandbox(t)
  t.equal(await shell(box, 'exit 7'), '[7]'.padStart(4))
  t.equal(await shell(box, 'kill -9 $$'), ' [137]')
  const missing = box.run({ argv: ['no-such-thing'], env }, () => undefined)
  t.equal((await missing.ended).code, 127)
  const patient = box.run(
    { argv: ['sh', '-c', 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'], env },
    () => patient.signal('SIGTERM'),
  )
  t.equal((await patient.ended).code, 3)
})

tap.test('another process joins a running container by its pid', async (t) => {
  const box = await sandbox(t)
  const process = box.run(
    { argv: ['sh', '-c', 'echo mine > /here; echo up; sleep 60'], env, root: { binds: [] } },
    async () => {
      const pid = await process.innerPid()
      const out = execFileSync(runnerProgram(), ['enter', String(pid), '--', 'cat', '/here'], {
        encoding: 'utf8',
      })
      t.equal(out, 'mine\n')
      process.signal('SIGTERM')
    },
  )
  await process.ended
})

tap.test('with the sandbox everything inside is gone, grandchildren too', async (t) => {
  const box = await sandbox(t)
  const started = new Promise<void>((resolve) => {
    box.run({ argv: ['sh', '-c', '(setsid sleep 61 &) ; echo up; sleep 62'], env, root: { binds: [] } }, () =>
      resolve(),
    )
  })
  await started
  const pids = execFileSync(
    'sh',
    [
      '-c',
      `for p in /proc/[0-9]*; do [ "$(readlink $p/ns/net)" = "net:[${box.netns}]" ] && echo \${p#/proc/}; done; true`,
    ],
    { encoding: 'utf8' },
  )
  const inside = await Promise.all(
    pids
      .trim()
      .split('\n')
      .map((pid) => processId(Number(pid))),
  )
  t.ok(inside.length >= 4, pids)
  await box.close()
  for (const id of inside) t.notOk(id !== undefined && (await isAlive(id)))
})

tap.test('nothing starts for a caller that has gone', async (t) => {
  await t.rejects(startSandbox({ runner: runnerProgram(), hostname: 'a' }, AbortSignal.abort()))
  await t.rejects(startSandbox({ runner: '/no/such/program', hostname: 'a' }, never), {
    code: 'FAILED_PRECONDITION',
  })
})

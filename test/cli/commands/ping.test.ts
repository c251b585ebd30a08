import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { Command } from 'commander'
import type { Context } from '@nsm/cli/commands/context.js'
import { pingCommand, type Echo } from '@nsm/cli/commands/ping.js'

const run = promisify(execFile)

interface Run {
  readonly text: string
  readonly code: number
  readonly asked: readonly (readonly [source: string, destination: string, timeoutMs: number])[]
}

/** Runs `nsm ping` on a machine whose echoes are given. */
async function ping(
  args: readonly string[],
  echoes: readonly (number | string | undefined)[] = [],
  stop = new AbortController(),
): Promise<Run> {
  const texts: string[] = []
  const asked: [string, string, number][] = []
  let code = 0
  const out = (text: string): void => void texts.push(text)
  const context: Context = {
    terminal: { out, step: out, note: out, title: out, paint: (text) => text },
    program: '',
    signal: stop.signal,
    exit: (given) => {
      code = given
    },
  }
  const echo: Echo = {
    ping: async (...call) => {
      asked.push(call)
      if (asked.length === echoes.length) setImmediate(() => stop.abort())
      const result = echoes[asked.length - 1]
      if (typeof result === 'string') throw new Error(result)
      return result
    },
    interfaces: () => ({
      lo: [{ address: '127.0.0.1', family: 'IPv4' }],
      'nsm-1': [
        { address: 'fe80::1', family: 'IPv6' },
        { address: '172.16.1.97', family: 'IPv4' },
        { address: '2001:db8::1', family: 'IPv6' },
      ],
    }),
    routes: async () =>
      [
        'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
        'eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0',
        'nsm-1\t000010AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
        'nsm-1\t600110AC\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0',
        '',
      ].join('\n'),
  }
  const program = new Command('nsm').exitOverride()
  pingCommand(program, context, echo)
  await program.parseAsync(['ping', ...args], { from: 'user' })
  return { text: texts.join(''), code, asked }
}

t.test('says of each echo whether it came back', async (t) => {
  const { text, code, asked } = await ping(['-c', '3', '-i', '1', '172.16.1.96'], [0.123, undefined, 4])
  t.equal(
    text,
    '172.16.1.96 answered in 0.12 ms\n172.16.1.96 did not answer\n172.16.1.96 answered in 4.00 ms\n2 of 3 answered\n',
  )
  t.equal(code, 0)
  t.strictSame(
    asked,
    Array.from({ length: 3 }, () => ['0.0.0.0', '172.16.1.96', 1_000]),
  )
})

t.test('goes on until it is stopped', async (t) => {
  const { text, code } = await ping(['-c', '0', '172.16.1.96'], [1, 2])
  t.match(text, /2 of 2 answered\n$/)
  t.equal(code, 0)
})

t.test('an interface that is away for a while is no reason to end', async (t) => {
  const { text, code } = await ping(['-c', '2', '172.16.1.96'], ['ENETUNREACH', 3])
  t.equal(
    text,
    '172.16.1.96 could not be asked: ENETUNREACH\n172.16.1.96 answered in 3.00 ms\n1 of 2 answered\n',
  )
  t.equal(code, 0)
})

t.test('finds the other end of an interface by its route', async (t) => {
  const { asked } = await ping(['-c', '1', '-I', 'nsm-1'], [1])
  t.strictSame(asked, [['172.16.1.97', '172.16.1.96', 1_000]])
  await t.rejects(ping(['-I', 'eth0']), { message: /eth0 has no route to a single IPv4 address/ })
  await t.rejects(ping([]), { message: 'either an address or -I must be given' })
})

t.test('fails when nothing came back', async (t) => {
  const { text, code } = await ping(['-c', '2', '::1'], [undefined, undefined, undefined])
  t.equal(code, 1)
  t.match(text, '0 of 2 answered')
})

t.test('takes the address that the interface has of the same family', async (t) => {
  const v4 = await ping(['-c', '1', '-W', '2', '-I', 'nsm-1', '172.16.1.96'], [1])
  t.strictSame(v4.asked, [['172.16.1.97', '172.16.1.96', 2_000]])
  const v6 = await ping(['-c', '1', '-I', 'nsm-1', '2001:db8::'], [1])
  t.strictSame(v6.asked, [['2001:db8::1', '2001:db8::', 1_000]])
})

t.test('names what is wrong', async (t) => {
  await t.rejects(ping(['example.org']), { message: '"example.org" must be an IPv4 or IPv6 address' })
  await t.rejects(ping(['-I', 'nsm-9', '10.0.0.1']), { message: 'there is no interface nsm-9' })
  await t.rejects(ping(['-I', 'lo', '::1']), { message: 'interface lo has no IPv6 address' })
  await t.rejects(ping(['-c', '-1', '10.0.0.1']), {
    message: '--count must be a number from 0 to 86400, not -1',
  })
  await t.rejects(ping(['-i', '0', '10.0.0.1']), {
    message: '--interval must be a number from 1 to 86400, not 0',
  })
})

t.test(
  'the whole program pings a loopback',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const main = fileURLToPath(new URL('../../../../cli/dist/main.js', import.meta.url))
    const open = 'ip link set lo up && echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range && exec "$@"'
    const argv = ['--net', 'sh', '-c', open, 'sh', process.execPath, main]
    const { stdout } = await run('unshare', [...argv, 'ping', '-c', '1', '-I', 'lo', '127.0.0.1'])
    t.match(stdout, /^127\.0\.0\.1 answered in \d+\.\d\d ms\n1 of 1 answered\n$/)
  },
)

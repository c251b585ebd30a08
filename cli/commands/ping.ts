import { readFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'
import type { Command } from 'commander'
import { native } from '@nsm/native/native.js'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Context } from './context.ts'

/** What `ping` needs of the machine. */
export interface Echo {
  /** Milliseconds until the answer, undefined = none in time. */
  ping(source: string, destination: string, timeoutMs: number): Promise<number | undefined>
  /** Addresses by interface name. */
  interfaces(): NodeJS.Dict<readonly { readonly address: string; readonly family: string }[]>
  /** Text of `/proc/net/route`. */
  routes(): Promise<string>
}

const machine: Echo = {
  ping: async (source, destination, timeoutMs) => native.ping(source, destination, timeoutMs),
  interfaces: networkInterfaces,
  routes: async () => readFile('/proc/net/route', 'latin1'),
}

interface Given {
  readonly count: string
  readonly interval: string
  readonly timeout: string
  readonly interface?: string
}

/** `nsm ping`: whether packets pass, from images that hold no other program. Exit code 1 when none came back. */
export function pingCommand(program: Command, context: Context, echo: Echo = machine): void {
  const { terminal } = context
  program
    .command('ping')
    .description('send echo requests as ping does: nsm ping -I nsm-1, or nsm ping 172.16.1.96')
    .argument('[address]', 'IPv4 or IPv6 address; none = the other end of the interface')
    .option('-c, --count <number>', 'how many; 0 = until it is stopped', '4')
    .option('-i, --interval <seconds>', 'time between two', '1')
    .option('-I, --interface <name>', 'interface whose address is the source')
    .option('-W, --timeout <seconds>', 'how long to wait for each answer', '1')
    .action(async (given: string | undefined, options: Given) => {
      const address = given ?? (await otherEnd(echo, options.interface))
      const source = sourceOf(echo, address, options.interface)
      const { sent, answers } = await series(context, options, async (timeoutMs) => {
        const result = await echo
          .ping(source, address, timeoutMs)
          .catch((err: unknown) => NsmError.from(err).message)
        terminal.out(`${address} ${wordsOf(result)}\n`)
        return typeof result === 'number'
      })
      terminal.out(`${answers} of ${sent} answered\n`)
      if (answers === 0) context.exit(1)
    })
}

/** Of milliseconds, of silence, or of why nothing could be sent: that may pass. */
function wordsOf(result: number | string | undefined): string {
  if (typeof result === 'number') return `answered in ${result.toFixed(2)} ms`
  return result === undefined ? 'did not answer' : `could not be asked: ${result}`
}

async function series(
  { signal }: Context,
  options: Given,
  once: (timeoutMs: number) => Promise<boolean>,
): Promise<{ readonly sent: number; readonly answers: number }> {
  const count = numberOf('--count', options.count, 0)
  const intervalMs = numberOf('--interval', options.interval, 1) * 1_000
  const timeoutMs = numberOf('--timeout', options.timeout, 1) * 1_000
  let [sent, answers] = [0, 0]
  for (;;) {
    sent++
    if (await once(timeoutMs)) answers++
    if (sent === count || signal.aborted) break
    await pause(intervalMs, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) break
  }
  return { sent, answers }
}

/** Where the interface's route to a single address leads. */
async function otherEnd(echo: Echo, name: string | undefined): Promise<string> {
  if (name === undefined) throw new NsmError('INVALID_ARGUMENT', 'either an address or -I must be given')
  const rows = (await echo.routes()).split('\n').map((line) => line.split(/\s+/))
  const found = rows.find(([device, , , , , , , mask]) => device === name && mask === 'FFFFFFFF')?.[1]
  if (found === undefined)
    throw new NsmError(
      'NOT_FOUND',
      `interface ${name} has no route to a single IPv4 address: give the address`,
    )
  return Buffer.from(found, 'hex').toReversed().join('.')
}

/** The address of that interface that can reach the destination; without a name, whatever the routes say. */
function sourceOf(echo: Echo, destination: string, name: string | undefined): string {
  const family = isIP(destination)
  if (family === 0) throw new NsmError('INVALID_ARGUMENT', `"${destination}" must be an IPv4 or IPv6 address`)
  if (name === undefined) return family === 4 ? '0.0.0.0' : '::'
  const found = echo.interfaces()[name]
  if (found === undefined) throw new NsmError('NOT_FOUND', `there is no interface ${name}`)
  const own = found.find((one) => one.family === `IPv${family}` && !one.address.startsWith('fe80:'))
  if (own === undefined) throw new NsmError('NOT_FOUND', `interface ${name} has no IPv${family} address`)
  return own.address
}

function numberOf(option: string, text: string, least: number): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= least && number <= 86_400) return number
  throw new NsmError('INVALID_ARGUMENT', `${option} must be a number from ${least} to 86400, not ${text}`)
}

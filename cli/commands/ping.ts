import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
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
}

const machine: Echo = {
  ping: async (source, destination, timeoutMs) => native.ping(source, destination, timeoutMs),
  interfaces: networkInterfaces,
}

interface Given {
  readonly count: string
  readonly timeout: string
  readonly interface?: string
}

/** `nsm ping`: whether packets pass, from images that hold no other program. Exit code 1 when none came back. */
export function pingCommand(program: Command, context: Context, echo: Echo = machine): void {
  const { terminal, signal } = context
  program
    .command('ping')
    .description('send echo requests to an address, as ping does: nsm ping -I nsm-1 172.16.1.96')
    .argument('<address>', 'IPv4 or IPv6 address')
    .option('-c, --count <number>', 'how many', '4')
    .option('-I, --interface <name>', 'interface whose address is the source')
    .option('-W, --timeout <seconds>', 'how long to wait for each answer', '1')
    .action(async (address: string, given: Given) => {
      const source = sourceOf(echo, address, given.interface)
      const [count, seconds] = [numberOf('--count', given.count), numberOf('--timeout', given.timeout)]
      let answers = 0
      for (let sent = 1; sent <= count && !signal.aborted; sent++) {
        const ms = await echo.ping(source, address, seconds * 1_000)
        if (ms !== undefined) answers++
        terminal.out(
          `${address} ${ms === undefined ? 'did not answer' : `answered in ${ms.toFixed(2)} ms`}\n`,
        )
      }
      terminal.out(`${answers} of ${count} answered\n`)
      if (answers === 0) context.exit(1)
    })
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

function numberOf(option: string, text: string): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= 3_600) return number
  throw new NsmError('INVALID_ARGUMENT', `${option} must be a number from 1 to 3600, not ${text}`)
}

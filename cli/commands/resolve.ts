import { open, readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import { parseResolvConf } from '@nsm/sdk/dns/resolv-conf.js'
import { controlOf } from '../mesh/control-client.ts'
import { table } from '../output/table.ts'
import { ask, type Found } from './ask.ts'
import type { Context } from './context.ts'
import { outputOf } from './exec.ts'

/** `nsm resolve`: asks for a name inside a pod, and the hidden half of it that runs there. */
export function resolveCommand(program: Command, context: Context): void {
  const { terminal } = context
  program
    .command('resolve')
    .description('ask for a name as a pod would, and say who answered: nsm resolve POD my.service AAAA')
    .argument('<pod>', 'name of the pod')
    .argument('<name>', 'name, or address for its name')
    .argument('[type]', 'type of the record', 'A')
    .option('-o, --output <format>', 'text or json', 'text')
    .option('-n, --namespace <namespace>', 'namespace of the pod', 'default')
    .option('--name <name>', 'name of the mesh', 'local')
    .action(
      async (
        pod: string,
        name: string,
        type: string,
        given: { output: string; namespace: string; name: string },
      ) => {
        const target = await controlOf(given.name)('exec', { namespace: given.namespace, pod })
        // The pod may not see this checkout: the program goes in by standard input.
        const argv = [process.execPath, '-', 'resolve-here', name, type]
        const own = await open(context.program)
        const { code, text } = await outputOf(target, argv, own).finally(() => own.close())
        if (code !== 0) throw new NsmError('UNAVAILABLE', `can't ask in pod ${pod}: ${text.trim()}`)
        terminal.out(given.output === 'json' ? text : foundText(JSON.parse(text) as Found))
        if ((JSON.parse(text) as Found).records.length === 0) context.exit(1)
      },
    )
  program
    .command('resolve-here', { hidden: true })
    .argument('<name>')
    .argument('<type>')
    .action(async (name: string, type: string) => {
      const conf = parseResolvConf(await readFile('/etc/resolv.conf', 'latin1'))
      terminal.out(`${JSON.stringify(await ask(conf, { name, type }, context.signal), undefined, 2)}\n`)
    })
}

function foundText({ name, type, rcode, records, asked, answeredBy, ms, faults }: Found): string {
  const rows = records.map((record) => [record.name, record.type, record.data])
  const shown =
    rows.length === 0 ? `${name} has no ${type}: ${rcode}\n` : table(['NAME', 'TYPE', 'DATA'], rows)
  const who =
    asked === ''
      ? 'nobody answered'
      : `answered by ${answeredBy === '' ? asked : `${answeredBy}, through ${asked}`}`
  const trouble = faults.map((fault) => `${fault}\n`).join('')
  return `${shown}${who} in ${ms} ms, for ${name}\n${trouble}`
}

import { Option, type Command } from 'commander'
import { checkMachine } from '../check/machine.ts'
import { bundleFolder } from '../mesh/options.ts'
import { sectionText, verdict } from '../output/findings.ts'
import type { Context } from './context.ts'
import { outputOption } from './output-option.ts'

/** `nsm check`: of this machine; `kubectl nsm check` is that of a cluster. */
export function machineCheckCommand(program: Command, context: Context): void {
  program
    .command('check')
    .description('look whether this machine has what a mesh needs (of a cluster: kubectl nsm check)')
    .addOption(outputOption())
    .addOption(new Option('--bundles <folder>', 'where the programs of the mesh are').hideHelp())
    .action(async ({ output, bundles = bundleFolder() }: { output: string; bundles?: string }) => {
      const { terminal, signal } = context
      const section = await checkMachine(bundles, signal)
      const isFine = section.findings.every(({ level }) => level !== 'fault')
      if (output === 'json')
        terminal.out(`${JSON.stringify({ ok: isFine, sections: [section] }, undefined, 2)}\n`)
      else terminal.out(sectionText(section, terminal) + verdict(section.findings, terminal))
      if (!isFine) context.exit(1)
    })
}

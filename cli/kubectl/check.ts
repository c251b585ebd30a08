import type { Command } from 'commander'
import { checkCluster, type Section } from '../check/check.ts'
import type { Context } from '../commands/context.ts'
import { sectionText, verdict } from '../output/findings.ts'
import { commonOptions, inCluster, outputOption, printed, type CommonOptions } from './options.ts'

/** `kubectl nsm check`. */
export function checkCommand(program: Command, context: Context): void {
  commonOptions(program.command('check'))
    .description('look whether the mesh is as it should be, and say what to do where it is not')
    .addOption(outputOption('table', 'json', 'yaml'))
    .action(async (given: CommonOptions & { output: 'table' | 'json' | 'yaml' }) =>
      inCluster(context, given, async ({ cluster, terminal }) => {
        const sections: Section[] = []
        for await (const section of checkCluster(cluster, Date.now())) {
          context.signal.throwIfAborted()
          sections.push(section)
          if (given.output === 'table') terminal.out(sectionText(section, terminal))
        }
        const findings = sections.flatMap((section) => section.findings)
        const isFine = findings.every(({ level }) => level !== 'fault')
        if (given.output === 'table') terminal.out(verdict(findings, terminal))
        else terminal.out(printed({ ok: isFine, sections }, given.output))
        if (!isFine) context.exit(1)
      }),
    )
}

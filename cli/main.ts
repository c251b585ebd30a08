import { basename } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CommanderError } from 'commander'
import { NsmError } from '@nsm/sdk/errors.js'
import type { Context } from './commands/context.ts'
import { meshProgram } from './commands/program.ts'
import { kubectlProgram } from './kubectl/program.ts'
import { terminalOf } from './output/terminal.ts'

const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.on(name, () => {
    // A second one: whoever sends it does not want to wait. A mesh goes on ending by itself.
    if (stopping.signal.aborted) process.exit(130)
    stopping.abort(new NsmError('CANCELLED', `stopped by ${name}`))
  })
// `nsm logs -f | head`: nobody reads any more, which is no fault.
process.stdout.on('error', (err) => stopping.abort(NsmError.from(err)))
process.stderr.on('error', () => undefined)

const context: Context = {
  terminal: terminalOf(process.stdout, process.stderr, process.env),
  program: fileURLToPath(import.meta.url),
  signal: stopping.signal,
  exit: (code) => {
    process.exitCode = code
  },
}
// kubectl runs `kubectl-nsm` for `kubectl nsm`.
const isPlugin = basename(process.argv[1] ?? '').startsWith('kubectl-nsm')
const program = isPlugin ? kubectlProgram(context) : meshProgram(context)
program.parseAsync().then(finish, (reason: unknown) => {
  if (reason instanceof CommanderError)
    process.exitCode = isPlugin && reason.exitCode !== 0 ? 2 : reason.exitCode
  else if (!stopping.signal.aborted) {
    process.stderr.write(`${program.name()}: ${NsmError.from(reason).message}\n`)
    process.exitCode = 1
  }
  finish()
})

/** Open handles of a daemon that goes on must not keep this process. */
function finish(): void {
  process.exit()
}

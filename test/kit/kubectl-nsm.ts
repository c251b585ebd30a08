import { NsmError } from '@nsm/sdk/errors.js'
import { kubectlProgram } from '@nsm/cli/kubectl/program.js'
import type { ClusterScene } from './cluster-scene.js'

/** What a command of `kubectl nsm` printed, and how it ended. */
export interface Ran {
  readonly out: string
  readonly notes: string
  readonly code: number
  /** Message of what it failed with; empty when it didn't. */
  readonly error: string
}

/** Runs one against a scene, in this process. */
export async function kubectlNsm(
  { kubeconfig }: Pick<ClusterScene, 'kubeconfig'>,
  args: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<Ran> {
  let out = ''
  let notes = ''
  let code = 0
  const note = (text: string): void => {
    notes += `${text}\n`
  }
  const program = kubectlProgram({
    terminal: {
      out: (text) => {
        out += text
      },
      step: note,
      note,
      title: note,
      paint: (text) => text,
    },
    program: '',
    signal,
    exit: (wanted) => {
      code = wanted
    },
  })
  for (const command of [program, ...program.commands])
    command.configureOutput({ writeErr: note, writeOut: note }).exitOverride()
  try {
    const [verb = '', ...rest] = args
    await program.parseAsync([verb, '--kubeconfig', kubeconfig, ...rest], { from: 'user' })
    return { out, notes, code, error: '' }
  } catch (reason) {
    const failed = reason instanceof Error && reason.name === 'CommanderError' ? 2 : 1
    return { out, notes, code: failed, error: NsmError.from(reason).message }
  }
}

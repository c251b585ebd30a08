/** Where commands write for people: results to standard output, steps and errors to standard error. */
export interface Terminal {
  out(text: string): void
  /** One step of something that takes a moment. */
  step(text: string): void
  /** What stands over the results that follow. */
  title(text: string): void
}

/** Colours only where somebody looks, and nobody has asked for none (NO_COLOR). */
export function terminalOf(
  stdout: NodeJS.WriteStream,
  stderr: NodeJS.WriteStream,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const paint = (to: NodeJS.WriteStream, code: string, text: string): string =>
    to.isTTY && !env['NO_COLOR'] ? `\u001B[${code}m${text}\u001B[0m` : text
  return {
    out: (text) => void stdout.write(text),
    step: (text) => void stderr.write(`${paint(stderr, '32', '✓')} ${text}\n`),
    title: (text) => void stdout.write(`\n${paint(stdout, '1', text)}\n`),
  }
}

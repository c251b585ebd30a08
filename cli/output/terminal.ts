/** Where commands write for people: results to standard output, progress and errors to standard error. */
export interface Terminal {
  out(text: string): void
  /** One step of something that takes a moment. */
  step(text: string): void
  /** Like `step`, for what stands out. */
  title(text: string): void
}

/** Colours only where somebody looks, and nobody has asked for none (NO_COLOR). */
export function terminalOf(
  stdout: NodeJS.WriteStream,
  stderr: NodeJS.WriteStream,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const colours = stderr.isTTY && !env['NO_COLOR']
  const paint = (code: string, text: string): string => (colours ? `\u001B[${code}m${text}\u001B[0m` : text)
  return {
    out: (text) => void stdout.write(text),
    step: (text) => void stderr.write(`${paint('32', '✓')} ${text}\n`),
    title: (text) => void stderr.write(`\n${paint('1', text)}\n`),
  }
}

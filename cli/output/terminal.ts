/** Where commands write for people: results to standard output, steps and errors to standard error. */
export interface Terminal {
  out(text: string): void
  /** One step of something that takes a moment. */
  step(text: string): void
  /** What a reader of the results should know about them. */
  note(text: string): void
  /** What stands over the results that follow. */
  title(text: string): void
  /** A word of the results in colour, where somebody looks at them. */
  paint(text: string, colour: Colour): string
}

export type Colour = 'red' | 'green' | 'yellow' | 'bold'

const colours: Readonly<Record<Colour, string>> = { bold: '1', red: '31', green: '32', yellow: '33' }

/** Colours only where somebody looks, and nobody has asked for none (NO_COLOR). */
export function terminalOf(
  stdout: NodeJS.WriteStream,
  stderr: NodeJS.WriteStream,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const paint = (to: NodeJS.WriteStream, colour: Colour, text: string): string =>
    to.isTTY && !env['NO_COLOR'] ? `\u001B[${colours[colour]}m${text}\u001B[0m` : text
  return {
    out: (text) => void stdout.write(text),
    step: (text) => void stderr.write(`${paint(stderr, 'green', '✓')} ${text}\n`),
    note: (text) => void stderr.write(`${paint(stderr, 'yellow', '!')} ${text}\n`),
    title: (text) => void stdout.write(`\n${paint(stdout, 'bold', text)}\n`),
    paint: (text, colour) => paint(stdout, colour, text),
  }
}

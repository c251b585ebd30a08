import { PassThrough } from 'node:stream'
import { terminalOf } from '@nsm/cli/output/terminal.js'
import t from 'tap'

/** A stream that says whether it is a terminal. */
function stream(isTTY: boolean): { to: NodeJS.WriteStream; text: () => string } {
  const pass = new PassThrough()
  return {
    to: Object.assign(pass, { isTTY }) as unknown as NodeJS.WriteStream,
    text: () => String(pass.read() ?? ''),
  }
}

t.test('colour only where somebody looks', async (t) => {
  const [pipe, screen] = [stream(false), stream(true)]
  t.equal(terminalOf(pipe.to, screen.to, {}).paint('x', 'red'), 'x')
  t.equal(terminalOf(screen.to, pipe.to, {}).paint('x', 'red'), '\u001B[31mx\u001B[0m')
  t.equal(terminalOf(screen.to, pipe.to, { NO_COLOR: '1' }).paint('x', 'red'), 'x')
  terminalOf(pipe.to, screen.to, {}).note('look')
  t.equal(screen.text(), '\u001B[33m!\u001B[0m look\n')
  terminalOf(pipe.to, screen.to, {}).out('result')
  t.equal(pipe.text(), 'result')
})

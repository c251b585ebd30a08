import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { noLocalMesh } from '../kit/local-mesh.ts'
import { nodeBinary } from '../kit/node-binary.ts'

/** The newest of each line that is cared for, beside the one that runs everything else. */
const versions = ['22.23.3', '24.21.0']
/** The quickstart runs the others. */
const packages = ['api', 'spiffe', 'sdk', 'native']
const tests = fileURLToPath(new URL('../../', import.meta.url))
const atOnce = 2

/** Compiled test files of a package whose sources are there. */
function filesOf(name: string): readonly string[] {
  return readdirSync(join(tests, 'dist', name), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js'))
    .map((file) => join(name, file))
    .filter((file) => existsSync(join(tests, file.replace(/\.js$/, '.ts'))))
    .toSorted()
}

/** What a command printed when it failed; undefined when it ended well. */
async function failureOf(node: string, args: readonly string[]): Promise<string | undefined> {
  const { NODE_EXTRA_CA_CERTS: _slow, ...inherited } = process.env
  // With tap's own variables and hook a test file would write its results for another process.
  const env = Object.fromEntries(Object.entries(inherited).filter(([name]) => !name.startsWith('TAP')))
  const child = spawn('env', ['-u', 'NODE_OPTIONS', node, ...args], {
    cwd: tests,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (text = (text + chunk.toString()).slice(-100_000)))
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  if (code === 0) return undefined
  const telling = text.split('\n').filter((line) => /not ok|Error|fatal/.test(line))
  return `ended with ${code}\n${(telling.length > 0 ? telling : text.split('\n')).slice(-20).join('\n')}`
}

async function runAll(t: Test, node: string): Promise<void> {
  const waiting = packages.flatMap(filesOf)
  t.ok(waiting.length > 80, `${waiting.length} files`)
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
      t.equal(await failureOf(node, [join('dist', file)]), undefined, file)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

t.setTimeout(1_200_000)
for (const version of versions)
  t.test(`Node.js ${version}`, { timeout: 600_000 }, async (t) => {
    const node = await nodeBinary(version)
    if (node instanceof Error) {
      t.pass(node.message, { skip: node.message })
      return
    }
    await t.test('tests of the packages', { timeout: 400_000 }, async (t) => runAll(t, node))
    const skip = noLocalMesh()
    await t.test('quickstart', skip === undefined ? {} : { skip }, async (t) => {
      const bundle = join(tests, '../build/nsm.cjs')
      const example = join(tests, '../examples/quickstart')
      const name = `v${version.slice(0, 2)}-${process.pid}`
      t.equal(await failureOf(node, [bundle, 'quickstart', example, '--once', '--name', name]), undefined)
    })
  })

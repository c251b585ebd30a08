import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkMachine, kernelFinding } from '@nsm/cli/check/machine.js'
import t from 'tap'
import { noLocalMesh } from '../../kit/local-mesh.ts'

const { signal } = new AbortController()
const skip = noLocalMesh()

t.test('a machine that meshes run on has all they need', skip === undefined ? {} : { skip }, async (t) => {
  const build = fileURLToPath(new URL('../../../../build', import.meta.url))
  const { findings } = await checkMachine(build, signal)
  t.strictSame(
    findings.filter(({ level }) => level === 'fault'),
    [],
  )
  t.ok(findings.some(({ text }) => text === 'two pods can be joined by an interface'))
})

t.test('what is missing is said, with what it needs', async (t) => {
  const empty = mkdtempSync(join(tmpdir(), 'nsm-check-'))
  t.teardown(() => rmSync(empty, { recursive: true }))
  const { findings } = await checkMachine(empty, signal)
  t.match(
    findings.filter(({ text }) => /^(?:the programs|network)/.test(text)),
    [
      { level: 'fault', text: /^the programs are built: no, .* is missing/, hint: 'scripts/setup builds it' },
      { level: 'fault', text: /^network, mount and process namespaces can be made: no, / },
    ],
  )
})

t.test('kernels are compared by their numbers', async (t) => {
  const level = (version: string): string => kernelFinding(version).level
  t.strictSame(['5.15.0', '6.4.9', '6.5.0', '6.10.1-arch', '7.0.0'].map(level), [
    'warning',
    'warning',
    'ok',
    'ok',
    'ok',
  ])
})

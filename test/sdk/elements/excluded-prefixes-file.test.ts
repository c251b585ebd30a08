import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { excludedPrefixesFile } from '@nsm/sdk/elements/excluded-prefixes-file.js'
import { silent, type Fields } from '@nsm/sdk/log.js'
import t from 'tap'
import { until } from '../../kit/until.js'

t.test('what the file says, in every form that readers take, and after each change', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'nsm-excluded-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'config', 'excluded_prefixes.yaml')
  const warned: Fields[] = []
  const file = await excludedPrefixesFile(path, { ...silent, warn: (fields) => void warned.push(fields) })
  t.teardown(() => file.close())
  t.same(file.prefixes(), [])
  await mkdir(join(folder, 'config'))
  const says = async (text: string, expected: readonly string[]): Promise<void> => {
    await writeFile(`${path}.new`, text)
    await rename(`${path}.new`, path)
    await until(`${JSON.stringify(text)} counts`, () => file.prefixes().join() === expected.join())
  }
  await says('Prefixes:\n- 10.244.0.0/16\n- 10.96.0.0/12\n- 10.244.0.0/16\n', [
    '10.244.0.0/16',
    '10.96.0.0/12',
  ])
  await says('prefixes: ["2001:DB8::/32"]\n', ['2001:db8::/32'])
  await says('PREFIXES:\n- 172.16.1.201/32\n- 172.16.1.1\n- 7\n- nonsense/8\n', ['172.16.1.201/32'])
  t.same(
    warned.map(({ entries }) => entries),
    [['172.16.1.1', 7, 'nonsense/8']],
  )
  await says('', [])
  await says('Prefixes: [10.0.0.0/8]', ['10.0.0.0/8'])
  for (const bad of [
    '- 10.0.0.0/8\n',
    'prefixes: x\n',
    'prefixes: [',
    `prefixes: [${'::/0,'.repeat(3000)}]`,
    'a: &a [1]\nprefixes: *a\n',
  ]) {
    warned.length = 0
    await writeFile(`${path}.new`, bad)
    await rename(`${path}.new`, path)
    await until(`${JSON.stringify(bad.slice(0, 20))} is refused`, () => warned.length > 0)
    t.same(file.prefixes(), ['10.0.0.0/8'], `${JSON.stringify(bad.slice(0, 20))} changes nothing`)
  }
  await rm(path)
  await until('nothing is excluded', () => file.prefixes().length === 0)
})

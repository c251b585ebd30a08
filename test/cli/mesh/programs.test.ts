import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { nodeInContainers, programsIn } from '@nsm/cli/mesh/programs.js'
import t from 'tap'

t.test('Node.js stays where each user of a container reaches it', async (t) => {
  t.same(nodeInContainers('/usr/bin/env'), { path: '/usr/bin/env', binds: [] })
})

t.test(
  'Node.js of a closed folder, or of one that containers have of their own, is shown elsewhere',
  async (t) => {
    const home = t.testdir({ bin: { node: '' } })
    const path = join(home, 'bin/node')
    chmodSync(home, 0o700)
    for (const source of [path, '/tmp/bin/node', '/run/node'])
      t.same(nodeInContainers(source), {
        path: '/opt/nsm/node',
        binds: [{ source, target: '/opt/nsm/node', readOnly: true }],
      })
  },
)

t.test('bundles are shown in one folder, and a missing one is named', async (t) => {
  const bundles = t.testdir()
  t.throws(() => programsIn(bundles, 600), {
    code: 'FAILED_PRECONDITION',
    message: /registry\.cjs is missing: build it with scripts\/setup/,
  })
  const files = ['registry', 'nsmgr', 'forwarder', 'webhook', 'sidecar', 'icmp-responder']
  for (const name of [...files.map((file) => `${file}.cjs`), 'nsm-run'])
    writeFileSync(join(bundles, name), '')
  const { argv, env, binds } = programsIn(bundles, 30)
  t.equal(argv('nsmgr').at(-1), '/opt/nsm/programs/nsmgr.cjs')
  t.equal(env['NSM_MAX_TOKEN_LIFETIME'], '30s')
  t.match(binds, [{ source: bundles, target: '/opt/nsm/programs', readOnly: true }])
})

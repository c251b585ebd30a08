import { kernelFindings, type ManagerRights } from '@nsm/cli/check/kernels.js'
import t from 'tap'

const none: ManagerRights = { seesProcesses: false, entersNamespaces: false }
const all: ManagerRights = { seesProcesses: true, entersNamespaces: true }
const faultsOf = (version: string, rights: ManagerRights): string[] =>
  kernelFindings([{ name: 'a', version }], rights)
    .filter(({ level }) => level === 'fault')
    .map(({ hint }) => /(hostPID|SYS_ADMIN)/.exec(hint)?.[1] ?? hint)

t.test('what a kernel does not tell by itself, nsmgr must be let find out', async (t) => {
  const versions = ['5.15.0', '6.4.9', '6.5.0', '6.10.1-arch', '6.11.0', '6.18.5', '7.0.0']
  t.strictSame(
    versions.map((version) => faultsOf(version, none)),
    [['hostPID', 'SYS_ADMIN'], ['hostPID', 'SYS_ADMIN'], ['SYS_ADMIN'], ['SYS_ADMIN'], [], [], []],
  )
  for (const version of versions) t.strictSame(faultsOf(version, all), [])
  t.strictSame(faultsOf('6.1.0', { ...none, entersNamespaces: true }), ['hostPID'])
})

t.test('nodes are named, and versions where nothing is to be said', async (t) => {
  const kernels = [
    { name: 'a', version: '6.4.9' },
    { name: 'b', version: '6.18.5' },
  ]
  t.match(kernelFindings(kernels, all), [{ text: /before 6\.5 on a:/ }, { text: /before 6\.11 on a:/ }])
  t.match(kernelFindings(kernels.slice(1), none), [{ level: 'ok', text: /: 6\.18\.5$/ }])
})

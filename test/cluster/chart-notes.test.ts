import t from 'tap'
import { progress } from './harness/progress.ts'
import { openTools } from './harness/tools.ts'
import { kubernetesWorld } from './kubernetes-world.ts'
import { chart, chartRenderer } from './rendered-chart.ts'

// Helm renders them for a cluster alone.
const { kubeconfig } = await kubernetesWorld(t, 'notes')
const { helm } = chartRenderer(await openTools(progress((line) => t.comment(line))))

t.test('notes say what is true of these values', async (t) => {
  const notes = async (...values: readonly string[]): Promise<string> => {
    const sets = values.flatMap((value) => ['--set', value])
    const release = ['nsm', chart, '--namespace', 'nsm-system', '--kubeconfig', kubeconfig]
    const [, text = ''] = (await helm('install', ...release, '--dry-run=server', ...sets)).split('\nNOTES:\n')
    return text
  }
  const plain = await notes()
  t.match(plain, 'kubectl annotate namespace')
  for (const other of ['kubectl label namespace', 'is away', 'injection.by']) t.notMatch(plain, other, other)
  const labelled = await notes('webhook.namespaceAnnotations=labelled')
  t.match(labelled, /kubectl label namespace.*inject=enabled\n.*\n  kubectl annotate namespace/)
  const off = await notes('webhook.namespaceAnnotations=off', 'admissionPolicy.enabled=false')
  t.notMatch(off, 'kubectl annotate namespace')
  t.notMatch(off, 'is away')
  t.match(await notes('admissionPolicy.enabled=false'), /starts without.*admissionPolicy\.enabled: false/)
  const policy = await notes('injection.by=policy', 'webhook.failurePolicy=Ignore')
  t.match(policy, 'injection.by: policy')
  t.notMatch(policy, 'is away')
})

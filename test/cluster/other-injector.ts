import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { KubernetesObject } from '@nsm/kubernetes/api-client.js'
import type { Test } from 'tap'
import { memoryStore } from '@nsm/webhook/authorities.js'
import { ownCertificate } from '@nsm/webhook/own-certificate.js'
import { silent } from '@nsm/sdk/log.js'
import type { WebhookWorld } from './webhook-world.ts'

interface Review {
  readonly request: {
    readonly uid: string
    readonly object: {
      readonly spec: { readonly initContainers?: readonly { readonly name: string }[] }
    }
  }
}

const proxy = { name: 'other-proxy', image: 'example.com/proxy:1', restartPolicy: 'Always' }

/** A mutating webhook as service meshes have one: puts its native sidecar in front of all others, unless it is there. Until the test ends. */
export async function otherInjector(
  t: Test,
  { client, address }: WebhookWorld,
  { name, namespace }: { readonly name: string; readonly namespace: string },
): Promise<void> {
  let bundle = ''
  const certificate = await ownCertificate({
    names: [address],
    store: memoryStore(),
    publisher: { publish: async (pem) => void (bundle = pem), close: () => undefined },
    log: silent,
  })
  const server = createServer(certificate.current, (req, res) => {
    req.setEncoding('utf8')
    void req.toArray().then((parts) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      res.end(JSON.stringify(answer(JSON.parse(parts.join('')) as Review)))
    })
  })
  await new Promise<void>((done) => server.listen(0, address, done))
  const { port } = server.address() as AddressInfo
  const path = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations'
  const caBundle = Buffer.from(bundle).toString('base64')
  await client.create<KubernetesObject>(path, {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name },
    webhooks: [
      {
        name,
        admissionReviewVersions: ['v1'],
        clientConfig: { url: `https://${address}:${port}/`, caBundle },
        sideEffects: 'None',
        reinvocationPolicy: 'IfNeeded',
        namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace } },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
      },
    ],
  })
  t.teardown(async () => {
    await client.delete(`${path}/${name}`)
    certificate.close()
    server.closeAllConnections()
    server.close()
  })
}

function answer({ request }: Review): unknown {
  const containers = request.object.spec.initContainers
  const value = containers === undefined ? [proxy] : proxy
  const at = containers === undefined ? '/spec/initContainers' : '/spec/initContainers/0'
  const patch = Buffer.from(JSON.stringify([{ op: 'add', path: at, value }])).toString('base64')
  const isThere = (containers ?? []).some(({ name }) => name === proxy.name)
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: { uid: request.uid, allowed: true, ...(isThere ? {} : { patchType: 'JSONPatch', patch }) },
  }
}

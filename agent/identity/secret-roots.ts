import type { KeptSecret } from '@nsm/kubernetes/kept-secret.js'
import type { Issued } from '@nsm/spiffe/authority/certificates.js'
import { rootsFromPem, rootsToPem } from '@nsm/spiffe/authority/root-pem.js'
import type { RootStore } from '@nsm/spiffe/authority/root-store.js'

/** Key of the Secret under which all roots stand, each with its private key, as PEM. */
const key = 'roots.pem'

/** Keeps the roots of the trust domain in a Secret that the agents of all nodes share; an empty one holds none. */
export function secretRoots(secret: KeptSecret): RootStore {
  return {
    read: async () => rootsIn(secret.read()),
    async update(change) {
      let kept: readonly Issued[] = []
      await secret.update(async (data) => {
        kept = rootsIn(data)
        const next = await change(kept)
        if (next === undefined) return undefined
        kept = next
        return { ...data, [key]: Buffer.from(rootsToPem(next)) }
      })
      return kept
    },
    onChange: (listener) => secret.onChange(listener),
  }
}

function rootsIn(data: Readonly<Record<string, Buffer>>): readonly Issued[] {
  const pem = data[key]
  if (pem === undefined || pem.length === 0) return []
  return rootsFromPem(pem.toString('latin1'), `${key} of the Secret`)
}

import { generateKeyPair, generateKeyPairSync, type KeyObject, type X509Certificate } from 'node:crypto'
import { promisify } from 'node:util'
import type { X509Bundles, X509Source, X509State, X509Svid } from '@nsm/spiffe/svid.js'
import { makeCertificate, type CertificateTemplate } from './certificate.ts'

/** What a test wants an SVID to be like; without any, it is a good one for an hour. */
export interface SvidOptions extends Partial<
  Omit<CertificateTemplate, 'subject' | 'issuer' | 'signingKey' | 'key'>
> {
  readonly keyType?: 'p256' | 'p384' | 'rsa'
  /** Signs instead of the authority itself and joins the chain. */
  readonly via?: Intermediate
  readonly hint?: string
}

/** A CA between the root and the leaves. */
export interface Intermediate {
  readonly certificate: X509Certificate
  readonly key: KeyObject
}

/** A source that a test rotates by hand. */
export interface TestSource extends X509Source {
  /** Gives the same identity a new key and certificate. */
  rotate(options?: SvidOptions): X509Svid
  /** Puts any state in place. */
  set(state: X509State): void
}

/** An authority in memory, for one trust domain. */
export interface TestAuthority {
  readonly trustDomain: string
  readonly root: X509Certificate
  /** Of this trust domain alone. */
  readonly bundles: X509Bundles
  /** `path` as `/ns/a/pod/b`. */
  svid(path: string, options?: SvidOptions): X509Svid
  /** `bundles`: what the source trusts; default this authority's own. */
  source(path: string, options?: SvidOptions & { bundles?: X509Bundles }): TestSource
  intermediate(options?: SvidOptions): Intermediate
}

const hourMs = 3_600_000

/** Makes an authority: `const ca = await testAuthority('k8s.nsm')`, then `ca.source('/ns/a/pod/b')`. */
export async function testAuthority(trustDomain: string): Promise<TestAuthority> {
  const { privateKey: key } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })
  const subject = `${trustDomain} root`
  const self = template({ uris: [`spiffe://${trustDomain}`], ca: true, usages: ['keyCertSign', 'cRLSign'] })
  const root = makeCertificate({ ...self, subject, issuer: subject, key, signingKey: key })
  const bundles: X509Bundles = new Map([[trustDomain, [root]]])

  const svid = (path: string, options: SvidOptions = {}): X509Svid => {
    const id = `spiffe://${trustDomain}${path}`
    const leafKey = newKey(options.keyType ?? 'p256')
    const { via } = options
    const leaf = makeCertificate({
      ...template({ uris: [id], ...options }),
      subject: path === '' ? 'leaf' : path,
      issuer: via === undefined ? subject : commonNameOf(via.certificate),
      key: leafKey,
      signingKey: via?.key ?? key,
    })
    const certificates: X509Svid['certificates'] = via === undefined ? [leaf] : [leaf, via.certificate]
    return {
      id,
      certificates,
      privateKey: leafKey,
      hint: options.hint ?? '',
    }
  }

  return {
    trustDomain,
    root,
    bundles,
    svid,
    source: (path, options = {}) =>
      sourceOf((changed) => svid(path, { ...options, ...changed }), options.bundles ?? bundles),
    intermediate(options = {}) {
      const key2 = newKey(options.keyType ?? 'p256')
      const wanted = template({ ca: true, usages: ['keyCertSign'], ...options })
      const name = { subject: `${trustDomain} intermediate`, issuer: subject }
      return { certificate: makeCertificate({ ...wanted, ...name, key: key2, signingKey: key }), key: key2 }
    },
  }
}

/** Several authorities' bundles, side by side: what a member of a federation trusts. */
export function federation(...authorities: readonly TestAuthority[]): X509Bundles {
  return new Map(authorities.map(({ trustDomain, root }) => [trustDomain, [root]]))
}

function sourceOf(issue: (options: SvidOptions) => X509Svid, bundles: X509Bundles): TestSource {
  const listeners = new Set<(state: X509State) => void>()
  let current: X509State = { svids: [issue({})], bundles }
  const set = (state: X509State): void => {
    current = state
    for (const listener of listeners) listener(state)
  }
  return {
    get current() {
      return current
    },
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close: () => listeners.clear(),
    set,
    rotate(options = {}) {
      const svid = issue(options)
      set({ svids: [svid], bundles: current.bundles })
      return svid
    },
  }
}

function template(
  options: SvidOptions,
): Omit<CertificateTemplate, 'subject' | 'issuer' | 'key' | 'signingKey'> {
  const now = Date.now()
  return {
    notBefore: new Date(now - 60_000),
    notAfter: new Date(now + hourMs),
    uris: [],
    dnsNames: [],
    ca: false,
    usages: ['digitalSignature'],
    usagesCritical: true,
    extendedUsages: [],
    extensions: [],
    ...options,
  }
}

function newKey(type: NonNullable<SvidOptions['keyType']>): KeyObject {
  if (type === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
  return generateKeyPairSync('ec', { namedCurve: type === 'p256' ? 'P-256' : 'P-384' }).privateKey
}

function commonNameOf(certificate: X509Certificate): string {
  return certificate.subject.replace(/^CN=/, '')
}

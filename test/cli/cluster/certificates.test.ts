import { authoritiesIn, certificatesIn, expiryMs } from '@nsm/cli/cluster/certificates.js'
import t from 'tap'
import { keyAndCertificate } from '../../kit/certificate.js'
import { authority } from '../../kit/cluster-scene.js'

t.test('authorities of a Secret, however it holds them', async (t) => {
  const [a, b] = [authority('CN=a', 3_600_000), authority('CN=b', 7_200_000)]
  const { cert: leaf, key } = await keyAndCertificate()
  const encoded = (text: string): string => Buffer.from(text).toString('base64')
  const secret = {
    metadata: { name: 's' },
    data: {
      'a.crt': encoded(a),
      'both.pem': encoded(a + key + leaf + b),
      json: encoded(JSON.stringify({ pem: a })),
    },
  }
  const found = authoritiesIn(secret)
  t.strictSame(
    found.map(({ subject }) => subject),
    ['CN=CN=a', 'CN=CN=b'],
  )
  t.strictSame(
    found.map((one) => expiryMs(one)),
    found.map(({ validTo }) => Date.parse(validTo)),
  )
  t.strictSame(authoritiesIn({ metadata: {} }), [])
  t.strictSame(certificatesIn('-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----'), [])
})

import { x509Source } from '@nsm/spiffe/workload-api.js'

/** Writes a JSON line for each identity that it has, and for each problem. @see attest.test.ts */
const source = await x509Source({
  onProblem: ({ code, message }) => process.stdout.write(`${JSON.stringify({ code, message })}\n`),
})
const tell = (): void => {
  const [{ id, certificates }] = source.current.svids
  process.stdout.write(`${JSON.stringify({ id, serial: certificates[0].serialNumber })}\n`)
}
tell()
source.onChange(tell)
setInterval(() => undefined, 60_000)

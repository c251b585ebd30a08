/** Programs of ours by the base names of the images they ship in, upstream's names among them. */
const programs: ReadonlyMap<string, string> = new Map([
  ['sidecar', 'sidecar'],
  ['nsm-sidecar', 'sidecar'],
  ['cmd-nsc', 'sidecar'],
  ['icmp-responder', 'icmp-responder'],
  ['nse-icmp-responder', 'icmp-responder'],
  ['cmd-nse-icmp-responder', 'icmp-responder'],
])

/** The program of ours that stands for an image, as `icmp-responder`; undefined = the image is somebody else's. */
export function programOf(image: string): string | undefined {
  return programs.get(baseName(image))
}

/** `example.org:5000/nsm/sidecar:v1@sha256:…` → `sidecar`. */
function baseName(image: string): string {
  const [path = ''] = image.split('@')
  const last = path.split('/').at(-1) ?? ''
  return last.split(':')[0] ?? ''
}

/** What may stand in an `image` field of a container without a command. */
export const knownImages: readonly string[] = [...new Set(programs.values())]

/** Why a text is no resource quantity that a container can have ("must …"); undefined = it is one. */
export function quantityFault(text: string): string | undefined {
  if (
    text.length <= 32 &&
    /^\+?(?:\d+(?:\.\d*)?|\.\d+)(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][+-]?\d{1,2})?$/.test(text)
  ) {
    return undefined
  }
  return 'must be a quantity such as 64Mi, 200m or 0.5'
}

const suffixes: Readonly<Record<string, number>> = {
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

/** The value of a quantity that has no fault; exact enough to compare. */
export function quantityValue(text: string): number {
  const [, number, suffix = ''] = /^([+\d.]+(?:[eE][+-]?\d+)?)([a-zA-Z]*)$/.exec(text) ?? []
  return Number(number) * (suffixes[suffix] ?? 1)
}

/** Why a text is no image reference; undefined = it looks like one. */
export function imageFault(text: string): string | undefined {
  const reference =
    /^(?:[\w.-]+(?::\d+)?\/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/i
  if (text.length <= 512 && reference.test(text)) return undefined
  return `${JSON.stringify(text.slice(0, 80))} is no image reference such as example.com/nsm/sidecar:1.0`
}

/** The name of the container that runs an image: its last path element without tag or digest, as a DNS label. */
export function containerName(image: string): string {
  const [path = ''] = image.split('@', 1)
  const [base = ''] = (path.split('/').at(-1) ?? '').split(':', 1)
  return base
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]/g, '-')
    .slice(0, 63)
    .replaceAll(/^-+|-+$/g, '')
}

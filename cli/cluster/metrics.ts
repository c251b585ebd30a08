/** Values of one metric, whatever its labels, in Prometheus' text format. */
export function valuesOf(text: string, metric: string): readonly number[] {
  return text.split('\n').flatMap((line) => {
    const [, name, value] = /^([a-zA-Z_:][\w:]*)(?:\{.*\})?\s+(\S+)/.exec(line) ?? []
    return name === metric && !Number.isNaN(Number(value)) ? [Number(value)] : []
  })
}

import type { MetricsText } from './ops-server.ts'

/** One value of a metric. */
export interface Sample {
  /** Of a histogram's rows, such as `_bucket`. */
  readonly suffix?: '_bucket' | '_sum' | '_count'
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

/** A metric that is read when asked for. */
export interface Metric {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly read: () => readonly Sample[]
}

/** Prometheus' text format without a library, for processes whose memory is a budget. */
export function metricsText(metrics: readonly Metric[]): MetricsText {
  return {
    contentType: 'text/plain; version=0.0.4; charset=utf-8',
    text: () => metrics.map(family).join(''),
  }
}

function family({ name, help, type, read }: Metric): string {
  const samples = read().map(({ suffix = '', labels = {}, value }) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`)
    return `${name}${suffix}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}\n`
  })
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${samples.join('')}`
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

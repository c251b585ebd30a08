import { defineConfig, type ConfigSchema } from '@nsm/sdk/process/config.js'
import { commonVariables, connectTo, unsupportedEverywhere } from '@nsm/sdk/process/common-variables.js'
import * as is from '@nsm/sdk/process/variables.js'
import t from 'tap'

interface Example {
  readonly name: string
  readonly timeoutMs: number
  readonly enabled: boolean
  readonly services: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly listenOn: readonly string[]
  readonly proxy: string | undefined
  readonly port: number
  readonly mode: 'polite' | 'strict'
}

const example: ConfigSchema<Example> = defineConfig<Example>(
  {
    name: is.text('NSM_NAME', undefined, 'what it is called'),
    timeoutMs: is.duration('NSM_TIMEOUT', '750ms', 'how long it waits'),
    enabled: is.boolean('NSM_ENABLED', 'true', 'whether it does'),
    services: is.list('NSM_SERVICES', 'a', 'what it serves'),
    labels: is.map('NSM_LABELS', 'p2p:true', 'labels'),
    listenOn: is.urls('NSM_LISTEN_ON', 'unix:///run/x.sock', 'where it listens'),
    proxy: is.optional(is.url('NSM_PROXY', undefined, 'whom it asks')),
    port: is.integer('NSM_PORT', '0', 'a port', [0, 65_535]),
    mode: is.choice('NSM_MODE', 'polite', 'how it is', ['polite', 'strict']),
  },
  unsupportedEverywhere,
)

t.test('defaults', async (t) => {
  t.same(example.parse({ NSM_NAME: 'x' }), {
    name: 'x',
    timeoutMs: 750,
    enabled: true,
    services: ['a'],
    labels: { p2p: 'true' },
    listenOn: ['unix:///run/x.sock'],
    proxy: undefined,
    port: 0,
    mode: 'polite',
  })
})

t.test('values as Go reads them', async (t) => {
  const of = (env: Record<string, string>): Example => example.parse({ NSM_NAME: 'x', ...env })
  for (const [text, ms] of [
    ['1h30m', 5_400_000],
    ['1.5s', 1_500],
    ['.5s', 500],
    ['0', 0],
    ['100us', 0.1],
    ['24h', 86_400_000],
  ] as const) {
    t.equal(of({ NSM_TIMEOUT: text }).timeoutMs, ms, text)
  }
  t.equal(of({ NSM_ENABLED: '0' }).enabled, false)
  t.equal(of({ NSM_ENABLED: 'TRUE' }).enabled, true)
  t.same(of({ NSM_SERVICES: 'a, b' }).services, ['a', 'b'])
  t.same(of({ NSM_SERVICES: '' }).services, [], 'an empty list is none')
  t.same(of({ NSM_LABELS: '' }).labels, {}, 'an empty map is none')
  t.same(of({ NSM_LABELS: 'a:b:c,d:' }).labels, { a: 'b:c', d: '' })
  t.equal(of({ NSM_TIMEOUT: '' }).timeoutMs, 750, 'elsewhere empty is unset')
  t.same(of({ NSM_LISTEN_ON: 'tcp://:5002,registry:5002,tcp://[::1]:1' }).listenOn, [
    'tcp://:5002',
    'tcp://registry:5002',
    'tcp://[::1]:1',
  ])
  t.equal(of({ NSM_MODE: 'Strict' }).mode, 'strict')
  t.equal(Object.getPrototypeOf(of({ NSM_LABELS: '__proto__:x' }).labels), Object.prototype)
})

t.test('all faults at once, each with name, value and what would be right', async (t) => {
  const env = {
    NSM_TIMEOUT: '5',
    NSM_ENABLED: 'yes',
    NSM_SERVICES: 'a,,b',
    NSM_LABELS: 'a:1,a:2',
    NSM_LISTEN_ON: 'http://x',
    NSM_PROXY: 'tcp://x:70000',
    NSM_PORT: '70000',
    NSM_MODE: 'rude',
  }
  t.throws(() => example.parse(env), {
    code: 'INVALID_ARGUMENT',
    message: [
      'config: NSM_NAME is required: what it is called',
      'NSM_TIMEOUT must be a duration such as 750ms, 15s or 1h30m, not "5"',
      'NSM_ENABLED must be true or false, not "yes"',
      'NSM_SERVICES must be a comma-separated list without empty items, not "a,,b"',
      'NSM_LABELS must not name a key twice, not "a:1,a:2"',
      'NSM_LISTEN_ON must be unix:///path or tcp://host:port, not "http://x"',
      'NSM_PROXY must be unix:///path or tcp://host:port, not "tcp://x:70000"',
      'NSM_PORT must be a whole number from 0 to 65535, not "70000"',
      'NSM_MODE must be one of polite, strict, not "rude"',
    ].join('; '),
  })
  for (const text of ['-1s', '1', '1e3s', 's', '1d', '9'.repeat(70) + 's', '9999999h', '1 s']) {
    t.throws(() => example.parse({ NSM_NAME: 'x', NSM_TIMEOUT: text }), /NSM_TIMEOUT must be/, text)
  }
})

t.test('a duration may be negative where that has a meaning', async (t) => {
  const schema = defineConfig<{ lifeMs: number }>({
    lifeMs: is.signedDuration('NSM_LIFE', '10m', 'how long'),
  })
  t.equal(schema.parse({}).lifeMs, 600_000)
  t.equal(schema.parse({ NSM_LIFE: '-1m' }).lifeMs, -60_000)
  for (const text of ['--1s', '-+1s', '-', '-1'])
    t.throws(() => schema.parse({ NSM_LIFE: text }), /NSM_LIFE must be a duration/, text)
})

t.test('what means nothing is told', async (t) => {
  const env = {
    NSM_NAME: 'x',
    NSM_TIMEOT: '1s',
    NSM_SOMETHING_ELSE: '1',
    TELEMETRY: 'true',
    HOME: '/',
    NSM_REGISTRY_SERVICE_HOST: '10.0.0.1',
    NSM_REGISTRY_PORT_5002_TCP_ADDR: '10.0.0.1',
  }
  t.same(example.warnings(env), [
    'NSM_TIMEOT is not a variable of this process; did you mean NSM_TIMEOUT?',
    'NSM_SOMETHING_ELSE is not a variable of this process',
    'TELEMETRY has no effect: telemetry is not exported; read /metrics instead',
  ])
})

t.test('help and description come from the same definition', async (t) => {
  const help = example.help('thing')
  t.match(help, 'NSM_NAME (text; required)\n      what it is called')
  t.match(help, 'NSM_TIMEOUT (duration; default: 750ms)')
  t.match(help, 'NSM_PROXY (URL; default: unset)')
  t.same(example.describe()[0], {
    name: 'NSM_NAME',
    kind: 'text',
    fallback: undefined,
    required: true,
    meaning: 'what it is called',
  })
})

t.test('common variables', async (t) => {
  const config = defineConfig({ ...commonVariables(':8080'), ...connectTo() })
  t.same(config.parse({ NSM_LOG_LEVEL: 'Warning' }), {
    logLevel: 'warn',
    opsListenOn: ':8080',
    connectTo: 'unix:///var/lib/networkservicemesh/nsm.io.sock',
  })
  t.throws(() => config.parse({ NSM_LOG_LEVEL: 'loud' }), /must be one of TRACE/)
})

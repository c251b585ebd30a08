import { expandTemplate } from '@nsm/sdk/match/template.js'
import fc from 'fast-check'
import t from 'tap'

const data = { nodeName: 'n1', 'a-b': 'x', app: 'pg' }

/** Left: the text; right: what Go 1.2x prints with text/template over the same map. */
const expanded: [string, string][] = [
  ['{{.nodeName}}', 'n1'],
  ['{{ .nodeName }}', 'n1'],
  ['{{.app\t}}', 'pg'],
  ['{{\n.app\n}}', 'pg'],
  ['{{.missing}}', '<no value>'],
  ['{{ index . "a-b" }}', 'x'],
  ['{{index . "app"}}', 'pg'],
  ['{{ index . `app` }}', 'pg'],
  ['{{ index . "nope" }}', ''],
  ['a{{.app}}b{{.app}}', 'apgbpg'],
  ['  {{- .app -}}  z', 'pgz'],
  ['{{.app }} {{- .nodeName}}', 'pgn1'],
  ['}}{{.app}}', '}}pg'],
  ['{{.constructor}}', '<no value>'],
  ['{{ index . "constructor" }}', ''],
]

/** Texts that Go refuses to parse or to execute, or that are outside the part that is understood. */
const literal = [
  'plain',
  '{{.app}',
  '{{if}}',
  '{{}}',
  '{{-.app}}',
  '{{.app.x}}',
  '{{ index .Labels "x" }}',
  '{{index .nodeName "x"}}',
  '{{ .app | printf "%s" }}',
  '{{ index . "\\q" }}',
  '{{.app}}{{',
  `{{.app}}${'x'.repeat(5000)}`,
]

t.test('templates print what Go prints', (t) => {
  for (const [text, value] of expanded) t.equal(expandTemplate(text, data), value, text)
  t.end()
})

t.test('what is not a template stays as it is', (t) => {
  for (const text of literal) t.equal(expandTemplate(text, data), text)
  t.end()
})

t.test('maps inside the data are reached by index only', (t) => {
  const connection = { Labels: { podName: 'p' }, NetworkService: 'db' }
  const name = '{{ index .Labels "podName" }}.{{ .NetworkService }}.'
  t.equal(expandTemplate(name, connection), 'p.db.')
  t.equal(expandTemplate('{{ .Labels }}', connection), '{{ .Labels }}')
  t.end()
})

t.test('hostile texts are read in linear time', (t) => {
  const texts = ['{{'.repeat(2000), `{{${' '.repeat(4000)}`, `{{ index . "${'\\"'.repeat(1500)}`]
  for (const text of texts) t.equal(expandTemplate(text, data), text)
  t.end()
})

t.test('any text is answered', (t) => {
  const piece = fc.constantFrom('{{', '}}', '.', 'app', ' ', 'index', '"', '-', '`', 'x', '\\', '\n')
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join('')),
      (text) => {
        const value = expandTemplate(text, data)
        if (!text.includes('{{') && value !== text) throw new Error(`${text} became ${value}`)
      },
    ),
    { numRuns: 500 },
  )
  t.end()
})

import {
  NsUrlError,
  parseAwarenessGroups,
  parseNsUrl,
  parseNsUrls,
  printNsUrl,
  type NsUrl,
} from '@nsm/api/nsurl.js'
import * as fc from 'fast-check'
import t from 'tap'

const faultOf = (parse: (text: string) => unknown, text: string): NsUrlError => {
  try {
    parse(text)
  } catch (err) {
    if (err instanceof NsUrlError) return err
    throw err
  }
  throw new Error(`accepted: ${text.slice(0, 80)}`)
}

t.test('the forms of the contract', (t) => {
  t.same(parseNsUrl('kernel://icmp-responder/nsm-1'), {
    mechanism: 'KERNEL',
    networkService: 'icmp-responder',
    interfaceName: 'nsm-1',
    labels: {},
  })
  t.same(parseNsUrl('kernel://icmp@my.cluster2/nsm-1?app=x'), {
    mechanism: 'KERNEL',
    networkService: 'icmp@my.cluster2',
    interfaceName: 'nsm-1',
    labels: { app: 'x' },
  })
  t.same(parseNsUrl('vfio://pingpong?sriovToken=worker.domain/100G'), {
    mechanism: 'VFIO',
    networkService: 'pingpong',
    interfaceName: undefined,
    labels: { sriovToken: 'worker.domain/100G' },
  })
  t.same(parseNsUrl('kernel://a?k=1&k=2&l=a+b&m=%2C&n=&o=YQ==').labels, {
    k: '1,2',
    l: 'a b',
    m: ',',
    n: '',
    o: 'YQ==',
  })
  t.end()
})

t.test('lists and groups', (t) => {
  const list = parseNsUrls('kernel://a/nsm-1,kernel://b?x=y,memif://c')
  t.same(
    list.map((url) => url.networkService),
    ['a', 'b', 'c'],
  )
  const groups = parseAwarenessGroups('[kernel://a/nsm-1,kernel://b],[kernel://c?x=1]')
  t.same(
    groups.map((group) => group.map((url) => url.networkService)),
    [['a', 'b'], ['c']],
  )
  t.same(parseAwarenessGroups(''), [])
  t.end()
})

t.test('what is malformed is refused where it is', (t) => {
  const rows: [text: string, position: number, found: string, expected: RegExp][] = [
    ['', 0, '', /kernel:\/\//],
    ['kernel://', 9, '', /name of a network service/],
    ['kernel:///nsm-1', 9, '/', /name of a network service/],
    ['kernle://svc', 0, 'kernle', /one of kernel/],
    ['vxlan://svc', 0, 'vxlan', /one of kernel/],
    ['icmp-responder', 0, 'icmp-responder', /one of kernel/],
    ['kernel:svc', 6, ':sv', /":\/\/"/],
    ['kernel://svc:80', 12, ':', /port/],
    ['kernel://user:password@svc', 13, ':', /password/],
    ['kernel://svc@', 13, '', /domain/],
    ['kernel://@domain', 9, '@', /name of a network service/],
    ['kernel://svc@a@b', 14, '@', /"\/"/],
    ['kernel://s%76c', 10, '%', /"\/"/],
    ['kernel://svc/', 13, '', /starts with a letter or digit/],
    ['kernel://svc/lo', 13, 'lo', /other than/],
    ['kernel://svc/eth0', 13, 'eth0', /other than/],
    ['kernel://svc/all', 13, 'all', /other than/],
    ['kernel://svc/..', 13, '..', /starts with a letter or digit/],
    ['kernel://svc/a/b', 13, 'a/b', /starts with a letter or digit/],
    ['kernel://svc/nsm%d', 13, 'nsm%d', /starts with a letter or digit/],
    ['kernel://svc/sixteen-bytes-xx', 13, 'sixteen-bytes-xx', /15 bytes/],
    ['kernel://svc?', 13, '', /name of a label/],
    ['kernel://svc?app', 16, '', /"="/],
    ['kernel://svc?=x', 13, '=', /name of a label/],
    ['kernel://svc?a=1;b=2', 16, ';', /"&"/],
    ['kernel://svc?a=%zz', 15, '%', /"&"/],
    ['kernel://svc?a=%ff', 15, '%ff', /UTF-8/],
    ['kernel://svc?a=%0a', 15, '%0a', /control/],
    ['kernel://svc#top', 12, '#', /"\/"/],
    ['kernel://svc\r\n', 12, '\r', /printable/],
    ['kernel://😀', 9, '\ud83d', /printable/],
    ['kernel://a,', 11, '', /one of kernel/],
    ['kernel://a,,kernel://b', 11, ',', /one of kernel/],
    ['kernel://a, kernel://b', 11, ' ', /printable/],
    ['kernel://a/nsm-1,kernel://b/nsm-1', 28, 'nsm-1', /twice/],
    [`kernel://${'s'.repeat(254)}`, 9, 's'.repeat(40), /253/],
    [`kernel://svc?a=${'x'.repeat(1 << 20)}`, 4096, 'x', /4096/],
    [Array.from({ length: 500 }, () => 'kernel://svc').join(','), 4096, '/', /4096/],
  ]
  for (const [text, position, found, expected] of rows) {
    const fault = faultOf(parseNsUrls, text)
    t.match({ position: fault.position, expected: fault.expected }, { position, expected }, text.slice(0, 40))
    t.ok(fault.found === found || found.length === 1, `${text.slice(0, 40)}: found ${fault.found}`)
    t.ok(fault.message.includes(`position ${position}`))
  }
  t.equal(faultOf(parseNsUrl, 'kernel://a,kernel://b').position, 10)
  t.end()
})

t.test('malformed groups', (t) => {
  const rows: [string, number][] = [
    ['kernel://a', 0],
    ['[kernel://a', 11],
    ['[]', 1],
    ['[kernel://a]x', 12],
    ['[kernel://a],', 13],
    ['[kernel://a/n1],[kernel://b/n1]', 28],
  ]
  for (const [text, position] of rows) t.equal(faultOf(parseAwarenessGroups, text).position, position, text)
  t.end()
})

const name = fc.stringMatching(/^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,20}[a-zA-Z0-9])?$/)
const url = fc
  .record({
    mechanism: fc.constantFrom('KERNEL' as const, 'MEMIF' as const, 'VFIO' as const, 'NOOP' as const),
    networkService: fc.oneof(
      name,
      fc.tuple(name, name).map(([service, domain]) => `${service}@${domain}`),
    ),
    interfaceName: fc.option(fc.stringMatching(/^n[a-zA-Z0-9_.-]{0,14}$/), { nil: undefined }),
    labels: fc.dictionary(name, fc.string({ unit: 'grapheme', maxLength: 20 }), { maxKeys: 4 }),
  })
  .filter((candidate) => !Object.values(candidate.labels).some((value) => /\p{Cc}/u.test(value)))

t.test('reading what was written gives the same, and writing it again the same text', (t) => {
  fc.assert(
    fc.property(url, (wanted: NsUrl) => {
      const text = printNsUrl(wanted)
      const read = parseNsUrl(text)
      t.same(read, wanted)
      return printNsUrl(read) === text
    }),
    { numRuns: 150 },
  )
  t.end()
})

t.test('no text does anything but parse or be refused with a position inside it', (t) => {
  const piece = fc.constantFrom(
    'kernel://',
    'svc',
    '/',
    'nsm-1',
    '?',
    'a=b',
    '&',
    ',',
    '@',
    ':',
    '[',
    ']',
    '%2',
    '\n',
    '=',
  )
  const odd = fc.oneof(
    fc.string({ unit: 'binary-ascii' }),
    fc.string({ unit: 'grapheme' }),
    fc.array(piece, { maxLength: 12 }).map((all) => all.join('')),
  )
  fc.assert(
    fc.property(odd, (text) => {
      for (const parse of [parseNsUrl, parseNsUrls, parseAwarenessGroups]) {
        try {
          parse(text)
        } catch (err) {
          if (!(err instanceof NsUrlError) || err.position < 0 || err.position > text.length) throw err
        }
      }
    }),
    { numRuns: 500 },
  )
  t.end()
})

import { parseNsUrls } from '@nsm/api/nsurl.js'
import { isRequiredService, requiredServicesFault } from '@nsm/api/required-services.js'
import t from 'tap'

const urls = parseNsUrls('kernel://db/nsm-1?app=x,kernel://db/nsm-2,kernel://log@other.example')

const chosen = (text: string): readonly boolean[] => urls.map((url) => isRequiredService(text, url))

t.test('all, none, by service, by interface', async (t) => {
  t.same(chosen('true'), [true, true, true])
  t.same(chosen('false'), [false, false, false])
  t.same(chosen('db'), [true, true, false])
  t.same(chosen('nsm-2'), [false, true, false])
  t.same(chosen('nsm-1, log@other.example'), [true, false, true])
  for (const text of ['true', 'false', 'db', 'nsm-1, log@other.example'])
    t.equal(requiredServicesFault(text, urls), undefined, text)
})

t.test('names that the pod does not have are refused, with those that it has', async (t) => {
  const names = 'must be true, false or a list of names out of db, nsm-1, nsm-2, log@other.example, not'
  t.equal(requiredServicesFault('dbb', urls), `${names} "dbb"`)
  t.equal(requiredServicesFault('db,', urls), `${names} ""`)
  t.equal(requiredServicesFault('', urls), `${names} ""`)
  t.equal(requiredServicesFault('True', urls), `${names} "True"`)
  t.equal(requiredServicesFault('log', urls), `${names} "log"`)
  t.equal(
    requiredServicesFault('x'.repeat(5_000), urls),
    'must have at most 4096 characters, not 5000',
    'of whatever comes from outside little is looked at',
  )
})

t.test('of many names some are told', async (t) => {
  const many = parseNsUrls(Array.from({ length: 300 }, (_, i) => `kernel://s${i}`).join(','))
  t.equal(
    requiredServicesFault('x', many),
    'must be true, false or a list of names out of s0, s1, s2, s3, s4, s5, s6, s7, …, not "x"',
  )
})

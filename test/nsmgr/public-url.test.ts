import { publicUrl } from '@nsm/nsmgr/public-url.js'
import t from 'tap'

t.test('the first tcp URL, with a host that others can reach', (t) => {
  t.equal(publicUrl(['unix:///a.sock', 'tcp://10.1.2.3:5001', 'tcp://10.1.2.4:1']), 'tcp://10.1.2.3:5001')
  t.match(publicUrl(['tcp://:5001']), /^tcp:\/\/.*:5001$/)
  t.notMatch(publicUrl(['tcp://0.0.0.0:5001']), 'localhost')
  t.equal(publicUrl(['unix:///a.sock']), 'unix:///a.sock')
  t.end()
})

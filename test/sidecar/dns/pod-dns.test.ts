import { runInOwnNetns } from '../../kit/own-netns.js'

const addresses = Array.from({ length: 9 }, (_, i) => `198.18.0.${i + 1}/32`)
runInOwnNetns(new URL('./pod-dns.cases.js', import.meta.url), addresses)

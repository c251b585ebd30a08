import type { Answer } from 'dns-packet'
import { LRUCache } from 'lru-cache'
import type { Reply } from './message.ts'
import type { Question } from './upstream.ts'

/** Answers by question, for as long as their records live; what does not exist for as long as its SOA says (RFC 2308). */
export interface AnswerCache {
  get(question: Question): Reply | undefined
  set(question: Question, reply: Reply): void
  /** Empties it: servers have come or gone. */
  clear(): void
  readonly size: number
}

const maxEntries = 4_096
const maxTtlSeconds = 3_600
/** Longest life of a "no such name", and its life without an SOA: a service may bring the name at any moment. */
const maxNegativeTtlSeconds = 30
const plainNegativeTtlSeconds = 1

interface Entry {
  readonly reply: Reply
  readonly storedAt: number
}

export function answerCache(now: () => number = Date.now): AnswerCache {
  const entries = new LRUCache<string, Entry>({ max: maxEntries, perf: { now }, ttl: 1 })
  const key = ({ name, type, wantsDnssec }: Question): string => `${name} ${type} ${wantsDnssec ? 1 : 0}`
  return {
    get(question) {
      const found = entries.get(key(question))
      if (found === undefined) return undefined
      const ageSeconds = Math.floor((now() - found.storedAt) / 1000)
      return aged(found.reply, ageSeconds)
    },
    set(question, reply) {
      const ttl = lifetimeSeconds(reply)
      if (ttl > 0) entries.set(key(question), { reply, storedAt: now() }, { ttl: ttl * 1000 })
    },
    clear: () => entries.clear(),
    get size() {
      return entries.size
    },
  }
}

function lifetimeSeconds(reply: Reply): number {
  if (reply.rcode !== 'NOERROR' && reply.rcode !== 'NXDOMAIN') return 0
  if (reply.answers.length > 0) return Math.min(maxTtlSeconds, ...reply.answers.map(ttlOf))
  const soa = reply.authorities.find(({ type }) => type === 'SOA')
  if (soa?.type !== 'SOA') return plainNegativeTtlSeconds
  return Math.min(maxNegativeTtlSeconds, soa.ttl ?? 0, soa.data.minimum ?? 0)
}

function aged(reply: Reply, seconds: number): Reply {
  const older = (records: readonly Answer[]): Answer[] =>
    records.map((record) =>
      record.type === 'OPT' ? record : { ...record, ttl: Math.max(0, ttlOf(record) - seconds) },
    )
  return {
    ...reply,
    answers: older(reply.answers),
    authorities: older(reply.authorities),
    additionals: older(reply.additionals),
  }
}

function ttlOf(record: Answer): number {
  return 'ttl' in record ? (record.ttl ?? 0) : 0
}

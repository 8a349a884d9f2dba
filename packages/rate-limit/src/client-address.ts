import rateLimit from '@fastify/rate-limit'
import { LRUCache } from 'lru-cache'
import { isIP } from 'node:net'

const known = new LRUCache<string, string>({ max: 10_000 })

/**
 * What a client is counted by: its address; of IPv6 the /64, which is what one customer of a provider gets,
 * and an IPv4 address written as IPv6 (`::ffff:192.0.2.1`) as itself. What is no address
 * (a socket that has gone, a word in a trusted `X-Forwarded-For`) shares one counter.
 */
export function clientAddress (ip: string | undefined): string {
  if (ip === undefined) return 'unknown'
  const found = known.get(ip)
  if (found !== undefined) return found
  const address = isIP(ip) === 0 ? 'unknown' : rateLimit.normalizeIP(ip, 64)
  known.set(ip, address)
  return address
}

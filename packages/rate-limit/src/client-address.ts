import rateLimit from '@fastify/rate-limit'
import { LRUCache } from 'lru-cache'
import { isIP } from 'node:net'

const known = new LRUCache<string, string>({ max: 10_000 })

/**
 * Returns the address by which a client is counted. For IPv6 this is the /64, which a provider
 * assigns to one customer. An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
 *
 * All invalid values (of a closed socket, or a word in a trusted `X-Forwarded-For`) share one
 * counter.
 */
export function clientAddress (ip: string | undefined): string {
  if (ip === undefined) return 'unknown'
  const found = known.get(ip)
  if (found !== undefined) return found
  const address = isIP(ip) === 0 ? 'unknown' : rateLimit.normalizeIP(ip, 64)
  known.set(ip, address)
  return address
}

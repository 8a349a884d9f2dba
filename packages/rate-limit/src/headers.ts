import type { FastifyReply } from 'fastify'

import type { Decision } from './quota.ts'
import type { RateLimitTarget } from './rate-limit-targets.ts'

/**
 * Which headers describe the limit: `x-ratelimit-*`, the IETF draft's `RateLimit` and
 * `RateLimit-Policy`, both, or none.
 */
export type HeaderStyle = 'both' | 'legacy' | 'draft' | 'none'

/**
 * Sends the headers that describe the state of the `rpm` limit. Sends none if it is `'unlimited'`.
 */
export function sendHeaders (
  reply: FastifyReply,
  style: HeaderStyle,
  { limits: { rpm }, name, policy }: RateLimitTarget,
  { used, reset }: Decision
): void {
  if (style === 'none' || rpm === 'unlimited') return
  const remaining = Math.max(0, rpm - used)
  const seconds = Math.ceil(reset / 1_000)
  if (style !== 'draft') {
    reply.header('x-ratelimit-limit', rpm)
    reply.header('x-ratelimit-remaining', remaining)
    reply.header('x-ratelimit-reset', seconds)
  }
  if (style !== 'legacy') {
    reply.header('ratelimit-policy', policy)
    reply.header('ratelimit', `"${name}";r=${remaining};t=${seconds}`)
  }
}

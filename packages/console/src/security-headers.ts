import type { FastifyReply } from 'fastify'

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'"
].join('; ')

const sharing = ['access-control-allow-origin', 'access-control-allow-credentials']

/** Removes the headers with which a CORS plugin of the application lets other sites read a page. */
export function keepFromOthers (reply: FastifyReply): void {
  for (const name of sharing) reply.removeHeader(name)
}

/**
 * Headers of every reply of the console: nothing inline, no other host, no frame, no copy on disk.
 */
export function secure (reply: FastifyReply): void {
  reply.headers({
    'content-security-policy': policy,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin'
  })
}

import type { FastifyReply, FastifyRequest } from 'fastify'
import { randomBytes } from 'node:crypto'

/**
 * The secret of the operator's session, from the cookie; undefined where there is none, or more
 * than one.
 */
export function readSession (request: FastifyRequest): string | undefined {
  const name = cookieName(request)
  const values = (request.headers.cookie ?? '').split(';').map(pair => pair.trim())
    .filter(pair => pair.startsWith(`${name}=`))
    .map(pair => pair.slice(name.length + 1))
  const [value] = values
  // Another site below the same domain may have set a second one, whose value it knows.
  return values.length === 1 && value !== undefined && /^[\w-]{43}$/.test(value) ? value : undefined
}

/** The secret of the operator's session. Where there is none, a new one is set as a cookie. */
export function openSession (request: FastifyRequest, reply: FastifyReply): string {
  const known = readSession(request)
  if (known !== undefined) return known
  const value = randomBytes(32).toString('base64url')
  const secure = isSecure(request) ? '; Secure' : ''
  reply.header('set-cookie', `${cookieName(request)}=${value}; Path=/; HttpOnly; SameSite=Strict${secure}`)
  return value
}

// Over TLS the prefix keeps other hosts below the same domain from setting it.
function cookieName (request: FastifyRequest): string {
  return isSecure(request) ? '__Host-tenancy-console' : 'tenancy-console'
}

function isSecure ({ protocol }: FastifyRequest): boolean {
  return protocol === 'https'
}

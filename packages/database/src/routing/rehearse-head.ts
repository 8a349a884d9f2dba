import { InternalTypeError } from '@fastify-tenancy/core'
import type { FastifyReply } from 'fastify'
import { ServerResponse, validateHeaderName, validateHeaderValue, type OutgoingHttpHeaders } from 'node:http'

/** What `writeHead` is called with. */
export type Head = readonly [status: number, ...rest: readonly unknown[]]

/**
 * Throws what `writeHead` of this response would throw, and sends nothing: a header with a line break must
 * be an error before the transaction is committed.
 */
export function rehearseHead (raw: FastifyReply['raw'], head: Head): void {
  if (!(raw instanceof ServerResponse)) {
    // HTTP/2. Its writeHead sends at once, so only the headers are looked at.
    for (const [name, value] of Object.entries((head.at(-1) ?? {}) as OutgoingHttpHeaders))
      validate(name, value)
    return
  }
  const rehearsal = new ServerResponse(raw.req)
  if (raw.statusMessage !== undefined) rehearsal.statusMessage = raw.statusMessage
  for (const [name, value] of Object.entries(raw.getHeaders()))
    if (value !== undefined) rehearsal.setHeader(name, value)
  try {
    Reflect.apply(rehearsal.writeHead, rehearsal, head)
  } catch (error) {
    // It may be the reason, and Fastify would send it with the reply to the error, too.
    raw.statusMessage = ''
    throw error
  }
}

function validate (name: string, value: OutgoingHttpHeaders[string]): void {
  validateHeaderName(name)
  if (Array.isArray(value) && single.has(name.toLowerCase()))
    throw new InternalTypeError(`the header ${name} takes one value, got ${value.length}`)
  for (const each of [value].flat()) validateHeaderValue(name, String(each))
}

// HTTP/2 takes one value of these: https://nodejs.org/api/http2.html#headers-object
const single = new Set([
  'access-control-allow-credentials',
  'access-control-max-age',
  'age',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'etag',
  'expires',
  'last-modified',
  'location',
  'retry-after',
  'strict-transport-security',
  'x-content-type-options'
])

import { InternalTypeError } from '@fastify-tenancy/core/errors'
import type { FastifyReply } from 'fastify'
import { ServerResponse, validateHeaderName, validateHeaderValue, type OutgoingHttpHeaders } from 'node:http'

/** The arguments of `writeHead`. */
export type Head = readonly [status: number, ...rest: readonly unknown[]]

/**
 * Throws what `writeHead` of this response would throw, without sending anything. Otherwise an
 * invalid header (such as one with a line break) would fail after the transaction is committed.
 */
export function rehearseHead (raw: FastifyReply['raw'], head: Head): void {
  if (!(raw instanceof ServerResponse)) {
    // HTTP/2: its writeHead sends at once, so check only the headers.
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
    // The status message may be the cause, and Fastify would send it again with the error reply.
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

// HTTP/2 allows one value for each of these: https://nodejs.org/api/http2.html#headers-object
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

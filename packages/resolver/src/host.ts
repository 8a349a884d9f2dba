import { parseHost } from '@fastify-tenancy/core/names'
import type { IncomingMessage } from 'node:http'

/**
 * Reads and checks the host from the raw headers. Node and Fastify accept two Host headers, user
 * names, spaces, paths, labels of any length and targets that disagree with Host. Proxies differ in
 * which part of such a host they use.
 */

/**
 * The parts of Node's request that name its host. Requests of HTTP/2 and of `inject()` have the
 * same parts.
 */
type RawRequest = Pick<IncomingMessage, 'rawHeaders' | 'url'> & { readonly originalUrl?: string }

/**
 * Returns the text that names a request's host, for core's `parseHost()`. Returns undefined if
 * there is no host or an ambiguous one: two Host headers, or a Host, `:authority` or absolute
 * request target that disagree.
 */
export function readHost (raw: RawRequest): string | undefined {
  const headers = raw.rawHeaders
  let named: string | undefined
  let authority: string | undefined
  for (let at = 0; at < headers.length; at += 2) {
    const name = headers[at] as string
    if (isHost(name)) {
      if (named !== undefined) return undefined
      named = headers[at + 1]
    } else if (name === ':authority') {
      authority = headers[at + 1]
    }
  }
  const text = named ?? authority
  if (text === undefined) return undefined
  if (named !== undefined && authority !== undefined && !isSame(named, authority)) return undefined
  // The targets '/path' and '*' (of OPTIONS) name no host.
  const target = raw.originalUrl ?? raw.url ?? '/'
  const first = target.charCodeAt(0)
  if (first === 47 || first === 42) return text
  const absolute = /^https?:\/\/([^/?#]*)/i.exec(target)
  return absolute !== null && isSame(text, absolute[1] as string) ? text : undefined
}

function isSame (one: string, other: string): boolean {
  const host = parseHost(one)
  return host !== undefined && host === parseHost(other)
}

function isHost (name: string): boolean {
  return name.length === 4 && (name === 'Host' || name === 'host' || name.toLowerCase() === 'host')
}

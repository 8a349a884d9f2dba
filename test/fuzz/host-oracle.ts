// Which tenant a request names, by the words of the guide "Finding the tenant of a request".
/** A request as its first line and its headers. */
export interface HostCase {
  /** The request target: a path, or a URL with a host of its own. */
  readonly target: string
  readonly headers: readonly (readonly [name: string, value: string])[]
}

const bySlug = new Map([['acme', 'acme'], ['globex', 'globex']])
const byDomain = new Map([['acme.shop', 'acme'], ['shop.globex.test', 'globex']])

/** What the guide says about a request. */
export interface Expected {
  /** The slug of the only tenant that may answer; undefined if none may. */
  readonly tenant: string | undefined
  /** Whether the request is a plain one, which that tenant must answer. */
  readonly isPlain: boolean
}

export function expectedOf ({ target, headers }: HostCase): Expected {
  const [host, ...more] = headers.filter(([name]) => name.toLowerCase() === 'host').map(([, value]) =>
    trim(value)
  )
  if (host === undefined || more.length > 0) return { tenant: undefined, isPlain: false }
  const tenant = nameOf(host)
  const authority = /^http:\/\/([^/]*)\/$/.exec(target)?.[1]
  // A URL as target must name the same host.
  if (authority !== undefined && nameOf(authority) !== tenant) return { tenant: undefined, isPlain: false }
  // Node's parser refuses a name that is no token, and values with control characters.
  const isParsed = headers.every(([name, value]) => /^[\w-]+$/.test(name) && !hasControl(value))
  return { tenant, isPlain: isParsed && /^\/(?:\?[\w%.~!*'()-]*=?[\w%.~!*'()-]*)?$/.test(target) }
}

function nameOf (host: string): string | undefined {
  const [, name = '', port = '80'] = /^([a-z0-9._-]+?)\.?(?::(\d{1,5}))?$/i.exec(host) ?? []
  if (Number(port) < 1 || Number(port) > 65_535) return undefined
  const text = name.toLowerCase()
  if (text.length > 253 || text.split('.').some(label => label.length > 63)) return undefined
  const preview = /^([a-z0-9-]+?)--[a-z0-9_-]+\.preview\.example\.com$/.exec(text)?.[1]
  const plain = /^([a-z0-9-]+)\.example\.com$/.exec(text)?.[1]
  return bySlug.get(preview ?? '') ?? bySlug.get(plain ?? '') ?? byDomain.get(text)
}

function trim (value: string): string {
  return value.replace(/^[ \t]+|[ \t]+$/g, '')
}

function hasControl (value: string): boolean {
  // oxlint-disable-next-line no-control-regex
  return /[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(value)
}

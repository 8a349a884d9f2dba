import { Resolver } from 'node:dns/promises'

import type { ResolvedDomainsOptions } from '../context/domains-options.ts'

/** What the DNS says of a token: it is there, it is not, or nobody answered. */
export type Proof = 'shown' | 'missing' | 'unanswered'

/** The record that proves a domain. */
export function recordName (domain: string): string {
  return `_tenancy.${domain}`
}

// Told by a server that knows: no such name, or no such record. All else may be an outage.
const denials: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA'])

/** Asks for `TXT _tenancy.<domain>`, and looks for the token among the answers. */
export async function askProof (
  domain: string,
  token: string,
  { servers, resolve, timeout }: ResolvedDomainsOptions
): Promise<Proof> {
  try {
    const records = await (resolve ?? resolverOf(servers, timeout))(recordName(domain))
    return records.some(parts => parts.join('').trim() === token) ? 'shown' : 'missing'
  } catch (error) {
    return denials.has(error instanceof Error && 'code' in error ? error.code : undefined)
      ? 'missing'
      : 'unanswered'
  }
}

function resolverOf (
  servers: readonly string[] | undefined,
  timeout: number
): (name: string) => Promise<string[][]> {
  const resolver = new Resolver({ timeout, tries: 2 })
  if (servers !== undefined) resolver.setServers(servers)
  return name => resolver.resolveTxt(name)
}

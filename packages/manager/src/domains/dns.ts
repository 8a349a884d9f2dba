import { Resolver } from 'node:dns/promises'

import type { ResolvedDomainsOptions } from '../context/domains-options.ts'

/** Result of a DNS query for a token: it was found, it is missing, or no server answered. */
export type Proof = 'shown' | 'missing' | 'unanswered'

/** Returns the name of the record that proves a domain. */
export function recordName (domain: string): string {
  return `_tenancy.${domain}`
}

// Definite answers: the name or the record does not exist. Any other error may be an outage.
const denials: ReadonlySet<unknown> = new Set(['ENOTFOUND', 'ENODATA'])

/** Queries `TXT _tenancy.<domain>` and compares the answers with the token. */
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

import { tenantConflict } from '@fastify-tenancy/core/errors'
import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import { getDomain } from 'tldts'

const name = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * Returns a domain in the format of requests: lower case, ASCII, without a trailing dot.
 *
 * @param bases the application's own domains
 * @throws FST_TENANCY_TENANT_CONFLICT with the reason why a tenant cannot have it
 */
export function customDomain (input: string, bases: readonly string[]): string {
  const bare = input.replace(/\.$/, '')
  const domain = domainToASCII(bare)
  // `domainToASCII` parses '1.2' and '0x7f.1' as addresses.
  if (isIP(bare) !== 0 || isIP(domain) !== 0 || bare.startsWith('['))
    throw tenantConflict('a custom domain must be a name, not an IP address')
  // `domainToASCII` also stops at a slash.
  if (/[^\p{L}\p{M}\p{N}.-]/u.test(bare) || !name.test(domain) || /\.\d+$/.test(domain))
    throw tenantConflict(
      'a custom domain must be a host name of at least two labels, ' +
        "such as 'shop.acme.com', without scheme, port and path"
    )
  for (const base of bases) {
    if (domain === base || domain.endsWith(`.${base}`))
      throw tenantConflict(
        `'${domain}' is the application's own domain '${base}' or below it, ` +
          'where tenants have their slugs: ' +
          "use a domain of the tenant's own"
      )
  }
  // A tenant with 'co.uk' or 'github.io' could receive requests for all domains below it.
  if (getDomain(domain, { allowPrivateDomains: true }) === null)
    throw tenantConflict(
      `'${domain}' is a public suffix, under which anyone can register a name: use a name below it`
    )
  return domain
}

import { tenantConflict } from '@fastify-tenancy/core'
import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import { getDomain } from 'tldts'

const name = /^(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * A domain as requests name it: lower case, in ASCII, without the dot at the end.
 *
 * @param bases the application's own domains
 * @throws FST_TENANCY_TENANT_CONFLICT that says why a tenant cannot have it
 */
export function customDomain (input: string, bases: readonly string[]): string {
  const bare = input.replace(/\.$/, '')
  const domain = domainToASCII(bare)
  // The function takes many a thing for a host: '1.2' and '0x7f.1' become addresses.
  if (isIP(bare) !== 0 || isIP(domain) !== 0 || bare.startsWith('['))
    throw tenantConflict('a custom domain must be a name, and no IP address')
  // It also stops reading at a slash.
  if (/[^\p{L}\p{M}\p{N}.-]/u.test(bare) || !name.test(domain) || /\.\d+$/.test(domain))
    throw tenantConflict(
      "a custom domain must be a host name of at least two labels, such as 'shop.acme.com', without scheme, port and path"
    )
  for (const base of bases) {
    if (domain === base || domain.endsWith(`.${base}`))
      throw tenantConflict(
        `'${domain}' is at or below the application's own domain '${base}': there a tenant has its slug`
      )
  }
  // Whoever is given 'co.uk' or 'github.io' would be taken for everybody below it.
  if (getDomain(domain, { allowPrivateDomains: true }) === null)
    throw tenantConflict(
      `'${domain}' is a public suffix, under which anybody can have a name: it is nobody's own`
    )
  return domain
}

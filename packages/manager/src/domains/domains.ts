import { tenantConflict, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'
import { inTransaction, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'
import { randomBytes } from 'node:crypto'
import { domainToASCII } from 'node:url'

import { tellDomain } from '../context/announce-change.ts'
import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { audit } from '../operations/audit.ts'
import { findTenant } from '../operations/find.ts'
import { assertStatus } from '../operations/state.ts'
import { askProof, recordName } from './dns.ts'
import { DomainUnverifiedError } from './errors.ts'
import { customDomain } from './name.ts'
import { reverifyDomains, type DomainCheck } from './reverify.ts'
import { deleteDomain, insertClaim, isTaken, markVerified, readDomains, type StoredDomain } from './store.ts'

/** A custom domain of a tenant. */
export interface TenantDomain {
  /** The tenant's id. */
  readonly tenant: string
  readonly domain: string
  /** Only a verified domain leads requests to its tenant. */
  readonly status: 'pending' | 'verified' | 'lapsed'
  /** What the domain's DNS must show; undefined for a domain that was given as proved when the tenant was created. */
  readonly record: DomainRecord | undefined
  /** How often the record was missing since it was last seen. */
  readonly misses: number
  readonly checkedAt: Date | null
}

/** What the DNS of a domain must show. */
export interface DomainRecord {
  readonly type: 'TXT'
  /** `_tenancy.shop.acme.com` */
  readonly name: string
  readonly value: string
}

/** The custom domains of tenants: `manager.domains`. */
export class Domains {
  readonly #context: ManagerContext
  readonly #ready: () => Promise<unknown>

  /** @param ready rejects where nothing is to be done on this database */
  constructor (context: ManagerContext, ready: () => Promise<unknown> = async () => {}) {
    this.#context = context
    this.#ready = ready
  }

  /**
   * Claims a domain for a tenant. Nothing leads there before {@link verify} has seen the record that the answer names.
   * Again answers the same.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT for a name at or below the application's own, an IP address, a public suffix,
   * what another tenant has proved, and the 101st domain of a tenant
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async add (ref: TenantRef, input: string): Promise<TenantDomain & { readonly record: DomainRecord }> {
    const domain = customDomain(input, this.#context.options.domains.bases)
    const { id } = await this.#tenant(ref)
    return this.#write(async client => {
      if (await isTaken(client, id, domain)) throw tenantConflict('the domain is taken')
      const { isNew, token } = await insertClaim(client, id, domain, randomBytes(24).toString('base64url'))
        .catch(refuseTooMany)
      if (isNew) await audit(this.#context, client, id, 'domain.add', { domain })
      return { ...await this.#read(client, id, domain), record: recordOf(domain, token) }
    })
  }

  /**
   * Looks for the record in the DNS, and lets the domain lead to its tenant from now on. Again looks again.
   *
   * @throws FST_TENANCY_DOMAIN_UNVERIFIED that says which record is missing, or that nobody answered
   * @throws FST_TENANCY_TENANT_CONFLICT when the tenant has not claimed it, or another has proved it first
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async verify (ref: TenantRef, input: string): Promise<TenantDomain> {
    const { domains } = this.#context.options
    const domain = customDomain(input, domains.bases)
    const { id } = await this.#tenant(ref)
    const { token } = await this.#write(client => this.#find(client, id, domain))
    if (token !== null) {
      const proof = await askProof(domain, token, domains)
      if (proof === 'unanswered')
        throw new DomainUnverifiedError(`the DNS did not answer for ${recordName(domain)}: try again later`)
      if (proof === 'missing')
        throw new DomainUnverifiedError(
          `the DNS shows no TXT record ${
            recordName(domain)
          } of the value ${token}: add it, and try again when it is published`
        )
    }
    const verified = await this.#write(async client => {
      const { status } = await this.#find(client, id, domain)
      await markVerified(client, id, domain)
      if (status !== 'verified') await audit(this.#context, client, id, 'domain.verify', { domain })
      return this.#read(client, id, domain)
    })
    await tellDomain(this.#context, id, domain)
    return verified
  }

  /**
   * Takes a domain from a tenant at once, proved or not. Again does no harm.
   *
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async remove (ref: TenantRef, input: string): Promise<void> {
    // Whatever it is: what could not be added today may have been added before.
    const bare = input.toLowerCase().replace(/\.$/, '')
    const domain = domainToASCII(bare) || bare
    const { id } = await findTenant(this.#context, ref)
    await this.#write(async client => {
      if (await deleteDomain(client, id, domain))
        await audit(this.#context, client, id, 'domain.remove', { domain })
    })
    await tellDomain(this.#context, id, domain)
  }

  /** The domains of one tenant, or of all, by name; claims and those that lapsed, too. */
  async list (ref?: TenantRef): Promise<TenantDomain[]> {
    const tenant = ref && await findTenant(this.#context, ref)
    return (await readDomains(this.#context.shards.get('default'), tenant?.id)).map(toPublic)
  }

  /**
   * Looks again for the records of all domains that were proved: to be run daily. One whose record was missing `dns.misses` times
   * in a row lapses, and is its tenant's again when the record is back. A DNS that does not answer changes nothing.
   */
  async reverify (): Promise<readonly DomainCheck[]> {
    await this.#ready()
    return reverifyDomains(this.#context)
  }

  async #tenant (ref: TenantRef): Promise<TenantRecord> {
    await this.#ready()
    const tenant = await findTenant(this.#context, ref)
    assertStatus(tenant.status, 'provisioning', 'active', 'suspended')
    return tenant
  }

  #write<T> (work: (client: SqlClient) => Promise<T>): Promise<T> {
    return withClient(
      this.#context.shards.get('default'),
      client => inTransaction(client, () => work(client))
    )
  }

  async #find (client: SqlClient, tenant: string, domain: string): Promise<StoredDomain> {
    const found = (await readDomains(client, tenant)).find(stored => stored.domain === domain)
    if (found === undefined) throw tenantConflict(`the tenant has not claimed '${domain}': add it first`)
    return found
  }

  async #read (client: SqlClient, tenant: string, domain: string): Promise<TenantDomain> {
    return toPublic(await this.#find(client, tenant, domain))
  }
}

function refuseTooMany (error: unknown): never {
  if (sqlState(error) === '23514' && (error as { constraint?: unknown }).constraint === 'domains_bound')
    throw tenantConflict('the tenant has 100 domains, claims included, which is the most: remove one first')
  throw error
}

function toPublic ({ token, ...rest }: StoredDomain): TenantDomain {
  return { ...rest, record: token === null ? undefined : recordOf(rest.domain, token) }
}

function recordOf (domain: string, value: string): DomainRecord {
  return { type: 'TXT', name: recordName(domain), value }
}

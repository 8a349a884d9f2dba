import type { TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { tenantConflict } from '@fastify-tenancy/core/errors'
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
  /** Only a verified domain routes requests to its tenant. */
  readonly status: 'pending' | 'verified' | 'lapsed'
  /**
   * The DNS record to publish; undefined for a domain that was declared verified when the tenant
   * was created.
   */
  readonly record: DomainRecord | undefined
  /** How often the record was missing since it was last seen. */
  readonly misses: number
  readonly checkedAt: Date | null
}

/** The DNS record that proves a domain. */
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

  /** @param ready rejects if the database must not be changed by this version */
  constructor (context: ManagerContext, ready: () => Promise<unknown> = async () => {}) {
    this.#context = context
    this.#ready = ready
  }

  /**
   * Claims a domain for a tenant. Requests are routed only after {@link verify} has found the
   * returned record. Idempotent.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT for an IP address, a public suffix, the application's own
   *   domain or one below it; for a domain that another tenant has verified, and for the 101st
   *   domain of a tenant
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
   * Looks for the record in the DNS, and from then on routes the domain to its tenant. A repeated
   * call checks again.
   *
   * @throws FST_TENANCY_DOMAIN_UNVERIFIED with the missing record, or if no server answered
   * @throws FST_TENANCY_TENANT_CONFLICT if the tenant has not claimed the domain, or another tenant
   *   has verified it
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
        throw new DomainUnverifiedError(
          `no DNS server answered for ${recordName(domain)}: verify again later`
        )
      if (proof === 'missing')
        throw new DomainUnverifiedError(
          `the DNS has no TXT record ${
            recordName(domain)
          } with the value ${token}: add it, then verify again when it is published`
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
   * Removes a domain from a tenant at once, verified or not. Idempotent.
   *
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async remove (ref: TenantRef, input: string): Promise<void> {
    // Does not check the name, because it may have been added under earlier rules.
    const bare = input.toLowerCase().replace(/\.$/, '')
    const domain = domainToASCII(bare) || bare
    const { id } = await findTenant(this.#context, ref)
    await this.#write(async client => {
      if (await deleteDomain(client, id, domain))
        await audit(this.#context, client, id, 'domain.remove', { domain })
    })
    await tellDomain(this.#context, id, domain)
  }

  /** Returns the domains of one tenant, or of all, by name, including claims and lapsed ones. */
  async list (ref?: TenantRef): Promise<TenantDomain[]> {
    const tenant = ref && await findTenant(this.#context, ref)
    return (await readDomains(this.#context.shards.get('default'), tenant?.id)).map(toPublic)
  }

  /**
   * Checks the records of all verified and lapsed domains again; run it daily. A domain whose
   * record was missing `dns.misses` times in a row lapses, and is restored when the record is back.
   * If no DNS server answers, nothing changes.
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

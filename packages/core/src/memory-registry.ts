import { boundsProblem } from './bounds.ts'
import { normalDomain } from './domain.ts'
import { TenantUnknownError, tenantConflict } from './errors.ts'
import type { TenantChanges, TenantFilter, TenantRegistry } from './registry.ts'
import { slugProblem } from './slug.ts'
import { toTenant, type TenantInput, type TenantRecord } from './tenant.ts'

/** Creates a registry in memory, for tests, trials and fixed sets of tenants. */
export function memoryRegistry (tenants: Iterable<TenantInput> = []): TenantRegistry {
  const registry = new MemoryRegistry()
  for (const tenant of tenants) registry.add(tenant)
  return registry
}

class MemoryRegistry implements TenantRegistry {
  #byId = new Map<string, TenantRecord>()
  #bySlug = new Map<string, TenantRecord>()
  #byDomain = new Map<string, TenantRecord>()

  add (input: TenantInput): TenantRecord {
    const tenant = toTenant(normal(input))
    assertBounds(input)
    if (this.#byId.has(tenant.id)) throw tenantConflict('the id is taken')
    this.#put(tenant, undefined)
    return tenant
  }

  async findBySlug (slug: string): Promise<TenantRecord | undefined> {
    return this.#bySlug.get(slug)
  }

  async findByDomain (domain: string): Promise<TenantRecord | undefined> {
    return this.#byDomain.get(normalDomain(domain))
  }

  async findById (id: string): Promise<TenantRecord | undefined> {
    return this.#byId.get(id)
  }

  async *list (filter: TenantFilter = {}): AsyncIterable<TenantRecord> {
    for (const tenant of [...this.#byId.values()].toSorted((a, b) => a.id < b.id ? -1 : 1)) {
      if (matches(tenant, filter)) yield tenant
    }
  }

  async insert (tenant: TenantInput): Promise<TenantRecord> {
    return this.add(tenant)
  }

  async update (id: string, expectedVersion: number, changes: TenantChanges): Promise<TenantRecord> {
    const old = this.#byId.get(id)
    if (old === undefined) throw new TenantUnknownError()
    if (old.version !== expectedVersion)
      throw tenantConflict('the tenant was changed by another writer: read it again')
    assertBounds(changes)
    const tenant = toTenant({
      ...old,
      ...normal(changes),
      id,
      createdAt: old.createdAt,
      updatedAt: new Date(),
      version: old.version + 1
    })
    this.#put(tenant, old)
    return tenant
  }

  #put (tenant: TenantRecord, old: TenantRecord | undefined): void {
    const problem = slugProblem(tenant.slug)
    if (problem !== undefined) throw tenantConflict(problem)
    // An id that equals a slug would make a bare name in a file or command ambiguous.
    if (this.#bySlug.has(tenant.id) || this.#byId.has(tenant.slug) || tenant.id === tenant.slug)
      throw tenantConflict('an id and a slug must differ')
    if ((this.#bySlug.get(tenant.slug) ?? old) !== old) throw tenantConflict('the slug is taken')
    for (const domain of tenant.domains) {
      if ((this.#byDomain.get(domain) ?? old) !== old) throw tenantConflict('the domain is taken')
    }
    if (old !== undefined) {
      this.#bySlug.delete(old.slug)
      for (const domain of old.domains) this.#byDomain.delete(domain)
    }
    this.#byId.set(tenant.id, tenant)
    this.#bySlug.set(tenant.slug, tenant)
    for (const domain of tenant.domains) this.#byDomain.set(domain, tenant)
  }
}

function normal<T extends { readonly domains?: readonly string[] }> (input: T): T {
  return input.domains === undefined ? input : { ...input, domains: input.domains.map(normalDomain) }
}

function assertBounds (input: Parameters<typeof boundsProblem>[0]): void {
  const problem = boundsProblem(input)
  if (problem !== undefined) throw tenantConflict(problem)
}

function matches (tenant: TenantRecord, filter: TenantFilter): boolean {
  return (filter.status === undefined || filter.status.includes(tenant.status)) &&
    (filter.plan === undefined || filter.plan === tenant.plan) &&
    (filter.isolation === undefined || filter.isolation === tenant.isolation) &&
    (filter.shard === undefined || filter.shard === tenant.placement.shard)
}

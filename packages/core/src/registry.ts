import type { TenantInput, TenantRecord } from './tenant.ts'

/** Which tenants {@link TenantRegistry.list} returns. */
export interface TenantFilter {
  readonly status?: readonly TenantRecord['status'][]
  readonly plan?: string
  readonly isolation?: TenantRecord['isolation']
  readonly shard?: string
}

/** The fields that an update may change: all but the id, the dates and the version. */
export type TenantChanges = Partial<Omit<TenantRecord, 'id' | 'createdAt' | 'updatedAt' | 'version'>>

/** A changed tenant with all its old and new names, which caches must forget. */
export interface TenantChange {
  readonly id: string
  readonly slugs: readonly string[]
  readonly domains: readonly string[]
}

/**
 * Where tenants are stored. The suite has an implementation on PostgreSQL and {@link
 * memoryRegistry}; an application may write its own.
 *
 * Find methods return `undefined` for an unknown tenant, and throw if they cannot tell: an outage
 * must not look like an unknown tenant.
 */
export interface TenantRegistry {
  findBySlug(slug: string): Promise<TenantRecord | undefined>
  findByDomain(domain: string): Promise<TenantRecord | undefined>
  findById(id: string): Promise<TenantRecord | undefined>
  /** All tenants, ordered by id. */
  list(filter?: TenantFilter): AsyncIterable<TenantRecord>
  /**
   * Adds a tenant.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when the id, slug or a domain is taken or quarantined.
   */
  insert(tenant: TenantInput): Promise<TenantRecord>
  /**
   * Changes a tenant if it still has the version that the caller read.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when it has another version, or a new slug or domain is
   * taken.
   * @throws FST_TENANCY_TENANT_UNKNOWN when there is no such tenant.
   */
  update(id: string, expectedVersion: number, changes: TenantChanges): Promise<TenantRecord>
  /**
   * Calls the listener for every write by any process, or with `'all'` when writes may have been
   * missed. Optional: without it, and without Redis, other processes see a change when their copy
   * expires. Resolves to the function that ends it.
   */
  watch?(listener: (change: TenantChange | 'all') => void): Promise<EndWatch>
}

/** Ends a watch. */
export interface EndWatch {
  (): Promise<void>
  /**
   * Whether every write currently reaches the listener. While it does, and since the last `'all'`,
   * the list of all tenants need not be read again. @default unknown
   */
  readonly isHearing?: () => boolean
}

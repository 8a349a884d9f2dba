import type { TenantInput, TenantRecord } from './tenant.ts'

/** Which tenants {@link TenantRegistry.list} gives. */
export interface TenantFilter {
  readonly status?: readonly TenantRecord['status'][]
  readonly plan?: string
  readonly isolation?: TenantRecord['isolation']
  readonly shard?: string
}

/** What an update may change: all but the id, the dates and the version. */
export type TenantChanges = Partial<Omit<TenantRecord, 'id' | 'createdAt' | 'updatedAt' | 'version'>>

/** A tenant that changed, with every name that it had before or has now: caches forget them all. */
export interface TenantChange {
  readonly id: string
  readonly slugs: readonly string[]
  readonly domains: readonly string[]
}

/**
 * Where tenants are kept. The suite ships one on Postgres and {@link memoryRegistry}; a user's own implements this.
 *
 * Find methods answer `undefined` for nobody and throw when they cannot tell: an outage must not look like an unknown tenant.
 */
export interface TenantRegistry {
  findBySlug(slug: string): Promise<TenantRecord | undefined>
  findByDomain(domain: string): Promise<TenantRecord | undefined>
  findById(id: string): Promise<TenantRecord | undefined>
  /** All tenants, by id. */
  list(filter?: TenantFilter): AsyncIterable<TenantRecord>
  /** @throws FST_TENANCY_TENANT_CONFLICT when the id, slug or a domain is taken or quarantined. */
  insert(tenant: TenantInput): Promise<TenantRecord>
  /**
   * Changes a tenant if it still has the version that the caller read.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when it has another, or a new slug or domain is taken.
   * @throws FST_TENANCY_TENANT_UNKNOWN when there is no such tenant.
   */
  update(id: string, expectedVersion: number, changes: TenantChanges): Promise<TenantRecord>
  /**
   * Tells of every write by any process, or `'all'` whenever some may have been missed. Optional: without it,
   * and without Redis, other processes learn of a change when their copy has aged.
   * Resolves to the function that ends it.
   */
  watch?(listener: (change: TenantChange | 'all') => void): Promise<EndWatch>
}

/** Ends a watch. */
export interface EndWatch {
  (): Promise<void>
  /**
   * Whether every write reaches the listener at this moment. While it does, and since the last `'all'`, no list of all
   * tenants has to be read again. @default it is not known
   */
  readonly isHearing?: () => boolean
}

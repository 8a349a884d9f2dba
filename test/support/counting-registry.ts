// A registry that counts its reads in the database, for all processes together.
import { toTenant, type TenantRecord, type TenantRegistry } from '@fastify-tenancy/core'
import type pg from 'pg'

/** SQL for the registry's tables: tenants of all processes, and a row for each read. */
export const countingTables = `
  create table counted_tenants (id text primary key, slug text not null unique,
    plan text not null default 'free');
  create table reads (name text not null, pid int not null default pg_backend_pid());
  create table loads (tenant text not null, key text not null);`

/** Counts reads and loads. Each waits while another session holds `pg_advisory_lock(gate)`. */
export const gate = 4_711

export class CountingPostgresRegistry implements TenantRegistry {
  readonly #pool: pg.Pool

  constructor (pool: pg.Pool) {
    this.#pool = pool
  }

  findBySlug (slug: string): Promise<TenantRecord | undefined> {
    return this.#read('slug', slug)
  }

  findById (id: string): Promise<TenantRecord | undefined> {
    return this.#read('id', id)
  }

  async findByDomain (domain: string): Promise<undefined> {
    await this.#count(domain)
  }

  async *list (): AsyncIterable<TenantRecord> {
    const { rows } = await this.#pool.query<{ id: string; slug: string; plan: string }>(
      'select * from counted_tenants order by id'
    )
    for (const row of rows) yield toTenant(row)
  }

  insert (): Promise<TenantRecord> {
    return Promise.reject(new Error('tenants come from SQL here'))
  }

  update (): Promise<TenantRecord> {
    return Promise.reject(new Error('tenants come from SQL here'))
  }

  async #read (by: 'slug' | 'id', value: string): Promise<TenantRecord | undefined> {
    await this.#count(value)
    const { rows: [row] } = await this.#pool.query<{ id: string; slug: string; plan: string }>(
      `select * from counted_tenants where ${by} = $1`,
      [value]
    )
    return row && toTenant(row)
  }

  async #count (name: string): Promise<void> {
    await this.#pool.query('insert into reads (name) values ($1)', [name])
    await this.#pool.query('select pg_advisory_xact_lock_shared($1)', [gate])
  }
}

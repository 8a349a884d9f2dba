import type { Register } from '@fastify-tenancy/core'
import type { ColumnType, Kysely, SelectType } from 'kysely'

/** The type under a key of `Register`, or a default. */
export type Registered<Key extends string, Default> = Register extends Record<Key, infer Value> ? Value
  : Default

/** Any table and column: the schema of `request.db` until `Register.database` is set. */
export type UntypedDatabase = Record<string, Record<string, unknown>>

/** A tenant table. Its tenant column is readable, and the database fills it in. */
export type TenantTable<Table, Column extends string> = {
  [Name in keyof Table]: Name extends Column ? ColumnType<SelectType<Table[Name]>, never, never> : Table[Name]
}

/** The type that a write to a reference table would need. No value has it. */
export interface ReadOnly {
  readonly 'a shared table is read-only for tenants': never
}

/** A reference table, which all tenants read and none writes. */
export type SharedTable<Table> = {
  [Name in keyof Table]: ColumnType<SelectType<Table[Name]>, ReadOnly, ReadOnly>
}

/**
 * A Kysely schema as a tenant may see it: tenant tables without their tenant column on insert and
 * update, reference tables read-only, and nothing else. Using another table, or writing the tenant
 * column, is a compile error.
 */
export type TenantDatabase<
  Database,
  TenantTables extends keyof Database,
  SharedTables extends keyof Database = never,
  Column extends string = 'tenant_id'
> =
  & {
    [Name in TenantTables]: TenantTable<Database[Name], Column>
  }
  & {
    [Name in SharedTables]: SharedTable<Database[Name]>
  }

/** The schema of `request.db`, from `Register`. */
export type RequestDatabase = Register extends { database: infer Database }
  ? Registered<'mode', 'strict'> extends 'loose' ? Database
  : TenantDatabase<
    Database,
    Extract<Registered<'tenantTables', keyof Database>, keyof Database>,
    Extract<Registered<'sharedTables', never>, keyof Database>,
    Extract<Registered<'tenantColumn', 'tenant_id'>, string>
  >
  : UntypedDatabase

/** The type of `request.db`. */
export type TenantKysely = Kysely<RequestDatabase>

/** The schema of the tables that no tenant sees, from `Register.globalTables`. */
export type GlobalDatabase = Register extends { database: infer Database }
  ? Pick<Database, Extract<Registered<'globalTables', never>, keyof Database>>
  : UntypedDatabase

/** The type of `app.tenancy.global`. */
export type GlobalKysely = Kysely<GlobalDatabase>

/** The type of the handle across tenants: all tables, with their tenant columns. */
export type SystemKysely = Kysely<Registered<'database', UntypedDatabase>>

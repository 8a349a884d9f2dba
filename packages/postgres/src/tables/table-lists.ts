import type { ListedViews } from './listed-views.ts'

/** {@link TablesOptions} with defaults. */
export interface ResolvedTables {
  /** Tenant tables with their tenant columns. */
  readonly tenant: Readonly<Record<string, string>>
  readonly shared: readonly string[]
  readonly global: readonly string[]
  readonly schema: string
  /** The schemas that hold extensions. @default those of the catalog */
  readonly extensionSchemas?: readonly string[]
  /** The tenant column, where `tenant` is to be read from the catalog. */
  readonly auto?: string
  /** Listed views, which are then in none of the lists above: see `listTables`. @default not looked up yet */
  readonly views?: ListedViews
}

/** Which tables hold what. A table in no list is refused. */
export interface TablesOptions {
  /**
   * Tables with a tenant column: names, or a map of names to their tenant columns, or `'auto'` for every table of the schema that has
   * the column. A named table without the column belongs to whom the tables belong that its foreign keys name. @default none
   */
  readonly tenant?: 'auto' | readonly string[] | Readonly<Record<string, string>>
  /** Tables that all tenants read and none writes. @default none */
  readonly shared?: readonly string[]
  /** Tables that no tenant sees. @default none */
  readonly global?: readonly string[]
  /** The tenant column, where no other is named. @default 'tenant_id' */
  readonly column?: string
  /** The schema of all these tables. @default 'public' */
  readonly schema?: string
  /** The schemas in which every strategy finds types, functions and operators of extensions. @default those that hold an extension */
  readonly extensionSchemas?: readonly string[]
}

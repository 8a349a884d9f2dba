import type { ListedViews } from './listed-views.ts'

/** {@link TablesOptions} with defaults. */
export interface ResolvedTables {
  /** Tenant tables with their tenant columns. */
  readonly tenant: Readonly<Record<string, string>>
  readonly shared: readonly string[]
  readonly global: readonly string[]
  readonly schema: string
  /** The schemas that hold extensions. @default the schemas that the catalog names */
  readonly extensionSchemas?: readonly string[]
  /** The tenant column, if the catalog is to supply `tenant`. */
  readonly auto?: string
  /** Listed views, which are then in no list above: see `listTables`. @default not looked up yet */
  readonly views?: ListedViews
}

/** Which tables hold rows of which kind. A table in no list is refused. */
export interface TablesOptions {
  /**
   * Tables with a tenant column: names, or a map of names to tenant columns. `'auto'` stands for
   * every table of the schema with the column. A named table without the column belongs to the
   * tenant of the tenant tables that its foreign keys reference.
   * @default none
   */
  readonly tenant?: 'auto' | readonly string[] | Readonly<Record<string, string>>
  /** Tables that all tenants read and none writes. @default none */
  readonly shared?: readonly string[]
  /** Tables that no tenant sees. @default none */
  readonly global?: readonly string[]
  /** The tenant column of tables for which no other column is named. @default 'tenant_id' */
  readonly column?: string
  /** The schema of all these tables. @default 'public' */
  readonly schema?: string
  /**
   * The schemas in which every strategy finds types, functions and operators of extensions.
   * @default the schemas that hold an extension
   */
  readonly extensionSchemas?: readonly string[]
}

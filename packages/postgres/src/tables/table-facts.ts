/** Types that a tenant column may have. */
export type TenantColumnType = 'text' | 'uuid' | 'int' | 'bigint'

/** A foreign key of a table to a tenant table, and whether each of its columns is `not null`. */
export interface ParentKey {
  /** `"public"."projects"` */
  readonly parent: string
  readonly columns: readonly string[]
  readonly parentColumns: readonly string[]
  readonly isRequired: boolean
}

import { quoteName, type SqlClient } from '@fastify-tenancy/postgres/client'

/** Facts about a table that `prepare` reads before it changes anything. */
export interface PrepareFacts {
  /** Undefined if the column does not exist yet. */
  readonly type: string | undefined
  readonly isRequired: boolean
  /** The column's default, unless it is the one that `protect` sets. Legacy code relies on it. */
  readonly ownDefault: string | undefined
  /** State of the check that replaces NOT NULL while it is validated. */
  readonly check: 'none' | 'unvalidated' | 'validated'
  readonly isIndexed: boolean
  /** Invalid indexes of an interrupted `create index concurrently`, as quoted names. */
  readonly invalidIndexes: readonly string[]
  /** The tables that contain the rows, as quoted names: the table itself, or its partitions. */
  readonly leaves: readonly string[]
  readonly isPartitioned: boolean
  /** The arguments of the trigger that fills the column, in hexadecimal. */
  readonly fill: string | undefined
  /** Expressions of earlier rules whose rows must be filled again; undefined if there are none. */
  readonly redo: readonly string[] | undefined
  /** Whether the table has enforced policies, so that no legacy code inserts rows. */
  readonly isEnforced: boolean
}

/** Name of the check that replaces NOT NULL until NOT NULL is set. */
export const checkName = 'tenancy_filled'
/** Names of the triggers that fill the column of new rows, and of rows whose parent changes. */
export const triggerNames = { fill: 'tenancy_fill', refill: 'tenancy_refill' } as const

export async function inspectForPrepare (
  client: SqlClient,
  oid: number,
  column: string
): Promise<PrepareFacts> {
  const { rows: [row] } = await client.query<{
    type: string | null
    required: boolean | null
    own: string | null
    validated: boolean | null
    indexed: boolean
    invalid: string[]
    leaves: string[]
    partitioned: boolean
    fill: string | null
    mark: string | null
    enforced: boolean
  }>(
    `
    -- The partition tree of a table without partitions is empty.
    with leaves as (
      select relid::oid as oid from pg_catalog.pg_partition_tree($1::oid::regclass) where isleaf
      union
      select oid from pg_catalog.pg_class where oid = $1::oid and relkind = 'r'
    )
    select t.typname::text as type, a.attnotnull as required,
      (
        select pg_catalog.pg_get_expr(adbin, adrelid) from pg_catalog.pg_attrdef
        where adrelid = c.oid and adnum = a.attnum and a.attgenerated = ''
      ) as own,
      (
        select convalidated from pg_catalog.pg_constraint where conrelid = c.oid and conname = $3
      ) as validated,
      exists (
        select from pg_catalog.pg_index
        where indrelid = c.oid and indkey[0] = a.attnum and indpred is null and indisvalid
      ) as indexed,
      array(select quote_ident(n.nspname) || '.' || quote_ident(x.relname) from leaves
        join pg_catalog.pg_index i on i.indrelid = leaves.oid
        join pg_catalog.pg_attribute own
          on own.attrelid = i.indrelid and own.attname = $2 and own.attnum = i.indkey[0]
        join pg_catalog.pg_class x on x.oid = i.indexrelid
        join pg_catalog.pg_namespace n on n.oid = x.relnamespace
        where i.indnatts = 1 and not i.indisvalid and not i.indisunique order by 1) as invalid,
      array(select quote_ident(n.nspname) || '.' || quote_ident(leaf.relname) from leaves
        join pg_catalog.pg_class leaf using (oid)
        join pg_catalog.pg_namespace n on n.oid = leaf.relnamespace order by 1) as leaves,
      c.relkind = 'p' as partitioned,
      (select encode(tgargs, 'hex') from pg_catalog.pg_trigger where tgrelid = c.oid and tgname = $4) as fill,
      (
        select pg_catalog.obj_description(oid, 'pg_trigger') from pg_catalog.pg_trigger
        where tgrelid = c.oid and tgname = $4
      ) as mark,
      exists (select from pg_catalog.pg_policy where polrelid = c.oid and polname = 'tenancy_tenant')
        and not exists (
          select from pg_catalog.pg_policy where polrelid = c.oid and polname = 'tenancy_legacy'
        ) as enforced
    from pg_catalog.pg_class c
    left join pg_catalog.pg_attribute a
      on a.attrelid = c.oid and a.attname = $2 and a.attnum > 0 and not a.attisdropped
    left join pg_catalog.pg_type t on t.oid = a.atttypid
    where c.oid = $1::oid`,
    [oid, column, checkName, triggerNames.fill]
  )
  if (row === undefined) throw new Error('the table was dropped meanwhile')
  return {
    type: row.type ?? undefined,
    isRequired: row.required ?? false,
    ownDefault: row.own?.includes('tenancy.tenant') === false ? row.own : undefined,
    check: row.validated === null ? 'none' : row.validated ? 'validated' : 'unvalidated',
    isIndexed: row.indexed,
    invalidIndexes: row.invalid,
    leaves: row.leaves,
    isPartitioned: row.partitioned,
    fill: row.fill ?? undefined,
    redo: readMark(row.mark),
    isEnforced: row.enforced
  }
}

/** Whether some row of the table has no tenant. */
export async function hasUnfilled (client: SqlClient, table: string, column: string): Promise<boolean> {
  const { rows: [row] } = await client.query<{ found: boolean }>(
    `select exists (select from ${table} where ${quoteName(column)} is null) as found`
  )
  return row?.found ?? false
}

/**
 * Returns the comment of the fill trigger while rows are filled again. An interrupted run reads it
 * to resume.
 */
export function markOf (redo: readonly string[]): string {
  return JSON.stringify({ redo })
}

function readMark (comment: string | null): readonly string[] | undefined {
  try {
    const { redo } = JSON.parse(comment ?? '{}') as { redo?: unknown }
    return Array.isArray(redo) ? redo.map(String) : undefined
  } catch {
    return undefined
  }
}

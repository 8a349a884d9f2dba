import { quoteName, quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'

import type { RowPlacement } from '../placement/tenant-placement.ts'
import type { TransferTable } from './tables.ts'

/** Position of a sequence. */
export interface Position {
  /** The last number returned, or the next one if `isCalled` is false. */
  readonly last: string
  readonly isCalled: boolean
}

/** A column that a sequence fills. */
export interface FilledColumn {
  readonly table: string
  readonly column: string
}

/**
 * A sequence of a placement, or one in another schema that the placement's tables or functions use.
 */
export interface PlacementSequence extends Position {
  readonly oid: string
  readonly schema: string
  readonly name: string
  /** Columns filled by ownership or by a default, also through functions. */
  readonly fills: readonly FilledColumn[]
  /**
   * Whether `pg_depend` has a column, default, trigger or function of the placement that uses it.
   */
  readonly isUsed: boolean
  readonly step: string
  readonly min: string
  readonly max: string
  /** How many numbers a session caches. */
  readonly cache: number
  readonly isCycling: boolean
}

// A default or a trigger refers to a sequence directly, or through functions whose bodies are
// stored parsed.
const sequences = `
  with recursive tabs as materialized (
    select c.oid, c.relname
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = $1 and c.relname = any($2)
  ),
  reached (classid, objid, tab, num) as (
    select 'pg_attrdef'::regclass::oid, a.oid, a.adrelid, a.adnum::int
    from pg_catalog.pg_attrdef a join tabs on tabs.oid = a.adrelid
    union all
    select 'pg_trigger'::regclass::oid, t.oid, 0::oid, 0
    from pg_catalog.pg_trigger t join tabs on tabs.oid = t.tgrelid where not t.tgisinternal
    union all
    select 'pg_proc'::regclass::oid, p.oid, 0::oid, 0
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = $1 and not $3
    union
    select d.refclassid, d.refobjid, r.tab, r.num
    from reached r join pg_catalog.pg_depend d on d.classid = r.classid and d.objid = r.objid
    where r.classid <> 'pg_class'::regclass and (d.refclassid = 'pg_proc'::regclass
      or (d.refclassid = 'pg_class'::regclass
        and exists (select from pg_catalog.pg_class s where s.oid = d.refobjid and s.relkind = 'S')))
  ),
  used (seq, tab, num) as (
    select objid, tab, num from reached where classid = 'pg_class'::regclass
    union
    -- A sequence that a column owns without using it as default fills no column.
    select d.objid, d.refobjid, case d.deptype when 'i' then d.refobjsubid else 0 end
    from pg_catalog.pg_depend d
    join tabs on tabs.oid = d.refobjid
    join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
  )
  select c.oid::text, n.nspname::text as schema, c.relname::text as name,
    exists (select from used where seq = c.oid) as "isUsed",
    (select coalesce(json_agg(
        json_build_object('table', tabs.relname, 'column', a.attname) order by tabs.relname, a.attname
      ), '[]')
      from used
      join tabs on tabs.oid = used.tab
      join pg_catalog.pg_attribute a on a.attrelid = tabs.oid and a.attnum = used.num and a.attnum > 0
      where used.seq = c.oid)::text as fills,
    s.seqincrement::text as step, s.seqmin::text as min, s.seqmax::text as max,
    s.seqcache::int as cache, s.seqcycle as "isCycling"
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_sequence s on s.seqrelid = c.oid
  where (n.nspname = $1 and case
      when c.relkind <> 'S' then false
      when not $3 then true
      else pg_catalog.has_sequence_privilege(c.oid, 'select')
    end) or c.oid in (select seq from used)
  order by 2, 3`

/**
 * Returns the sequences of a placement with their positions: those in its schema, and others that
 * it uses.
 */
export async function readSequences (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly Pick<TransferTable, 'name'>[]
): Promise<PlacementSequence[]> {
  const { rows } = await client.query<
    Omit<PlacementSequence, 'fills' | keyof Position> & { readonly fills: string }
  >(sequences, [placement.schema, tables.map(({ name }) => name), placement.isShared])
  if (rows.length === 0) return []
  const states = rows.map((row, index) =>
    `select ${index} as n, last_value::text as last, is_called as "isCalled" from ${sequenceName(row)}`
  )
  const { rows: positions } = await client.query<Position & { readonly n: number }>(
    `${states.join(' union all ')} order by n`
  )
  return rows.map((row, index) => ({
    ...row,
    fills: JSON.parse(row.fills) as FilledColumn[],
    last: positions[index]?.last ?? '',
    isCalled: positions[index]?.isCalled ?? false
  }))
}

/** `"public"."notes_id_seq"` */
function sequenceName ({ schema, name }: Pick<PlacementSequence, 'schema' | 'name'>): string {
  return `${quoteName(schema)}.${quoteName(name)}`
}

/** Returns the next number of a sequence. */
export function nextOf ({ last, isCalled }: Position, step: string): bigint {
  return isCalled ? BigInt(last) + BigInt(step) : BigInt(last)
}

/** Whether number `a` comes after `b` in the direction of a sequence. */
export function isAhead (a: bigint, b: bigint, step: string): boolean {
  return BigInt(step) > 0n ? a > b : a < b
}

/**
 * Sets a sequence that only this tenant uses to a position. The caller ensures that the position is
 * ahead.
 */
export async function setOwn (
  client: SqlClient,
  sequence: PlacementSequence,
  { last, isCalled }: Position
): Promise<void> {
  await client.query(
    `select pg_catalog.setval(${quoteText(sequenceName(sequence))}::regclass, $1::int8, $2)`,
    [
      last,
      isCalled
    ]
  )
}

/**
 * Advances a sequence that other tenants use, under its lock, so that no number is drawn meanwhile.
 * `alter sequence` also invalidates the numbers that sessions have cached, because imported rows
 * may have these ids.
 *
 * ```sql
 * alter sequence "public"."notes_id_seq" cache 20; select setval('"public"."notes_id_seq"', 4711, true)
 * ```
 *
 * @param client in a transaction of its own, because the lock is held to its end
 */
export async function raiseShared (
  client: SqlClient,
  sequence: PlacementSequence,
  position: Position | undefined
): Promise<void> {
  const { step, cache } = sequence
  const name = sequenceName(sequence)
  await client.query("set local lock_timeout = '500ms'")
  await client.query(`alter sequence ${name} cache ${cache}`)
  const { rows: [now] } = await client.query<Position>(
    `select last_value::text as last, is_called as "isCalled" from ${name}`
  )
  if (
    position === undefined || now === undefined || !isAhead(nextOf(position, step), nextOf(now, step), step)
  ) return
  await setOwn(client, sequence, position)
}

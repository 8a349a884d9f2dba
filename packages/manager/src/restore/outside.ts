import { quoteName, quoteText, sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'

import { changedRow, isKeyed } from '../move/changed-row.ts'
import type { RowPlacement } from '../placement/tenant-placement.ts'
import { fromOf, rowsOf, type TransferTable } from '../tenant-rows/tables.ts'
import { RestoreRefusedError } from './errors.ts'
import { stagedName, type RestoredTable, type TableChanges } from './stage-rows.ts'

interface ReferringKey {
  readonly name: string
  /** The referring table, qualified and quoted. */
  readonly from: string
  /** Its name if it is in the placement's schema. */
  readonly table: string | null
  readonly columns: readonly string[]
  readonly parentColumns: readonly string[]
}

/**
 * Finds rows of other tenants and of tables without tenants that refer to rows which the restore
 * removes. A foreign key would delete or change them, or refuse the restore.
 *
 * @returns a phrase for each foreign key with such rows: `3 rows of public.invoices
 *   (invoices_customer_id_fkey)`
 */
export async function rowsOutside (
  client: SqlClient,
  placement: RowPlacement,
  tables: readonly TransferTable[],
  restored: readonly RestoredTable[],
  changes: ReadonlyMap<string, TableChanges>
): Promise<readonly string[]> {
  const found: string[] = []
  const isRemoved = ({ table: { name } }: RestoredTable): boolean => (changes.get(name)?.removed ?? 0) > 0
  for (const both of restored.filter(isRemoved)) {
    for (const key of await keysTo(client, placement, both.table)) {
      const own = tables.find(({ name }) => name === key.table)
      // In a placement of its own, all rows belong to the tenant.
      if (own !== undefined && !placement.isShared) continue
      const pairs = key.columns.map((column, index) =>
        `t.${quoteName(key.parentColumns[index] ?? '')} = r.${quoteName(column)}`
      )
      const { rows: [row] } = await client.query<{ count: number }>(`
        select count(*)::int as count from ${key.from} r join ${fromOf(placement, both.table)} t on ${
        pairs.join(' and ')
      }
        where ${rowsOf(placement, tables, both.table)} and ${leaves(both)}
          ${own === undefined ? '' : `and not ${rowsOf(placement, tables, own, 'r')}`}`)
        .catch((error: unknown) => {
          throw sqlState(error) === '42501' ? unreadable(key) : error
        })
      if (row !== undefined && row.count > 0) found.push(`${row.count} rows of ${key.from} (${key.name})`)
    }
  }
  return found
}

// All rows of a changed table without a primary key are deleted and inserted again.
function leaves (both: RestoredTable): string {
  if (!isKeyed(both)) return 'true'
  return `exists (select from pg_temp.changed c
    where c.tab = ${quoteText(both.table.name)} and c.line is null and ${changedRow(both)})`
}

function unreadable ({ from, name }: ReferringKey): Error {
  return new RestoreRefusedError(
    `the restore removes rows to which ${from} may refer (${name}), but this login may not read that ` +
      'table: grant it SELECT, then restore again'
  )
}

async function keysTo (
  client: SqlClient,
  placement: RowPlacement,
  table: TransferTable
): Promise<readonly ReferringKey[]> {
  const { rows } = await client.query<ReferringKey>(
    `
    select k.conname::text as name, k.conrelid::regclass::text as from,
      case when c.relnamespace = p.relnamespace then c.relname::text end as table,
      ${columnsOf('k.conkey', 'k.conrelid')} as columns, ${
      columnsOf('k.confkey', 'k.confrelid')
    } as "parentColumns"
    from pg_catalog.pg_constraint k
    join pg_catalog.pg_class c on c.oid = k.conrelid join pg_catalog.pg_class p on p.oid = k.confrelid
    where k.contype = 'f' and k.conparentid = 0 and k.confrelid = pg_catalog.to_regclass($1)
    order by k.conname`,
    [stagedName(placement, table)]
  )
  return rows
}

function columnsOf (numbers: string, relation: string): string {
  return `(select pg_catalog.json_agg(a.attname order by place)
    from unnest(${numbers}) with ordinality u (num, place)
    join pg_catalog.pg_attribute a on a.attrelid = ${relation} and a.attnum = u.num)`
}
